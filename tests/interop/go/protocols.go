package main

import (
	"context"
	"io"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// handle serves one more protocol, which the library tells whoever is connected.
func (p *peer) handle(id protocol.ID) {
	p.host.SetStreamHandler(id, func(s network.Stream) {
		if _, err := io.Copy(io.Discard, s); err != nil {
			s.Reset()
			return
		}
		s.Close()
	})
}

// waitProtocol waits until the remote, as far as it told us, serves the protocol, or does not.
func (p *peer) waitProtocol(ctx context.Context, remote libp2ppeer.ID, r request) error {
	wanted := r.Present == nil || *r.Present
	return p.wait(ctx, func() bool {
		known, err := p.host.Peerstore().GetProtocols(remote)
		if err != nil || len(known) == 0 {
			return false
		}
		served := false
		for _, id := range known {
			served = served || id == r.Protocol
		}
		return served == wanted
	})
}
