package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/libp2p/go-libp2p/core/network"
	multiplex "github.com/libp2p/go-mplex"
)

// go-libp2p has no mplex any more: this is its last library under the interfaces of today.
const mplexID = "/mplex/6.7.0"

type mplexTransport struct{}

func (mplexTransport) NewConn(c net.Conn, isServer bool, scope network.PeerScope) (network.MuxedConn, error) {
	m, err := multiplex.NewMultiplex(c, !isServer, scope)
	if err != nil {
		return nil, err
	}
	return mplexConn{m}, nil
}

type mplexConn struct{ *multiplex.Multiplex }

func (c mplexConn) OpenStream(ctx context.Context) (network.MuxedStream, error) {
	s, err := c.NewStream(ctx)
	if err != nil {
		return nil, err
	}
	return mplexStream{s}, nil
}

func (c mplexConn) AcceptStream() (network.MuxedStream, error) {
	s, err := c.Accept()
	if err != nil {
		return nil, err
	}
	return mplexStream{s}, nil
}

func (c mplexConn) CloseWithError(network.ConnErrorCode) error { return c.Close() }

func (c mplexConn) As(target any) bool {
	t, ok := target.(**multiplex.Multiplex)
	if ok {
		*t = c.Multiplex
	}
	return ok
}

type mplexStream struct{ *multiplex.Stream }

// A reset on mplex has no code.
func (s mplexStream) ResetWithError(network.StreamErrorCode) error { return s.Reset() }

func (s mplexStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	return n, told(err)
}

func (s mplexStream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	return n, told(err)
}

func told(err error) error {
	if errors.Is(err, multiplex.ErrStreamReset) {
		return fmt.Errorf("%w: %w", network.ErrReset, err)
	}
	return err
}
