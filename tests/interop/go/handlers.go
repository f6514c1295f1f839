package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	protocolEcho      protocol.ID = "/echo/1.0.0"
	protocolSink      protocol.ID = "/test/sink/1.0.0"
	protocolReset     protocol.ID = "/test/reset/1.0.0"
	protocolResetMe   protocol.ID = "/test/reset-me/1.0.0"
	protocolHalf      protocol.ID = "/test/half/1.0.0"
	protocolHalfFirst protocol.ID = "/test/half-first/1.0.0"
)

// tally tells how the streams of one protocol, opened by remotes, ended.
type tally struct {
	Opened   int64   `json:"opened"`
	EOF      int64   `json:"eof"`
	EOFBytes int64   `json:"eof_bytes"`
	Reset    int64   `json:"reset"`
	Other    int64   `json:"other"`
	LastCode *uint32 `json:"last_code"`
}

type peer struct {
	host  host.Host
	bench *bench

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced at every change
	tallies    map[string]*tally
	identified map[string]event.EvtPeerIdentificationCompleted // by connection id
}

func newPeer(h host.Host) (*peer, error) {
	p := &peer{
		host:       h,
		changed:    make(chan struct{}),
		tallies:    map[string]*tally{},
		identified: map[string]event.EvtPeerIdentificationCompleted{},
	}
	events, err := h.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerProtocolsUpdated),
	})
	if err != nil {
		return nil, err
	}
	go func() {
		for e := range events.Out() {
			p.change(func() {
				if done, ok := e.(event.EvtPeerIdentificationCompleted); ok {
					p.identified[done.Conn.ID()] = done
				}
			})
		}
	}()
	h.Network().Notify(&network.NotifyBundle{
		ConnectedF:    func(network.Network, network.Conn) { p.change(func() {}) },
		DisconnectedF: func(_ network.Network, c network.Conn) { p.change(func() { delete(p.identified, c.ID()) }) },
	})
	p.serve("echo", protocolEcho, func(s network.Stream) (int64, error) {
		n, err := io.Copy(s, s)
		if err == nil {
			err = s.CloseWrite()
		}
		return n, err
	})
	p.serve("sink", protocolSink, func(s network.Stream) (int64, error) { return io.Copy(io.Discard, s) })
	p.serve("reset", protocolReset, func(s network.Stream) (int64, error) {
		var code [1]byte
		n, err := io.ReadFull(s, code[:])
		if err == nil {
			err = s.ResetWithError(network.StreamErrorCode(code[0]))
		}
		return int64(n), err
	})
	p.serve("reset_me", protocolResetMe, func(s network.Stream) (int64, error) {
		if _, err := s.Write([]byte("r")); err != nil {
			return 0, err
		}
		return io.Copy(io.Discard, s)
	})
	p.serve("half", protocolHalf, func(s network.Stream) (int64, error) {
		n, err := io.Copy(io.Discard, s)
		if err == nil {
			_, err = fmt.Fprintf(s, "done:%d", n)
		}
		return n, err
	})
	p.serve("half_first", protocolHalfFirst, func(s network.Stream) (int64, error) {
		if _, err := s.Write([]byte("hello")); err != nil {
			return 0, err
		}
		if err := s.CloseWrite(); err != nil {
			return 0, err
		}
		return io.Copy(io.Discard, s)
	})
	p.serve("perf", protocolPerf, servePerf)
	return p, nil
}

// serve counts how each stream ends: handle returns the bytes read and nil at EOF.
func (p *peer) serve(name string, id protocol.ID, handle func(network.Stream) (int64, error)) {
	t := &tally{}
	p.tallies[name] = t
	p.host.SetStreamHandler(id, func(s network.Stream) {
		p.change(func() { t.Opened++ })
		n, err := handle(s)
		if err == nil {
			err = s.Close()
		} else {
			s.Reset()
		}
		p.change(func() {
			switch {
			case err == nil && id == protocolReset:
				// Our own reset ended it: that is neither EOF nor a remote reset.
			case err == nil:
				t.EOF++
				t.EOFBytes += n
			case errors.Is(err, network.ErrReset):
				t.Reset++
				t.LastCode = codeOf(err)
			default:
				t.Other++
				fmt.Fprintf(os.Stderr, "%s: %v\n", id, err)
			}
		})
	})
}

func (p *peer) change(apply func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	apply()
	close(p.changed)
	p.changed = make(chan struct{})
}

// wait returns once ready, called under the lock, is true.
func (p *peer) wait(ctx context.Context, ready func() bool) error {
	for {
		p.mu.Lock()
		done, changed := ready(), p.changed
		p.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// codeOf is nil where the muxer carried no code.
func codeOf(err error) *uint32 {
	var stream *network.StreamError
	if !errors.As(err, &stream) {
		return nil
	}
	code := uint32(stream.ErrorCode)
	return &code
}
