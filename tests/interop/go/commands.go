package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
)

const blockSize = 64 * 1024

// failure is an error whose kind we know better than the error tells.
type failure struct {
	kind string
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func badRequest(format string, arguments ...any) error {
	return &failure{"bad_request", fmt.Errorf(format, arguments...)}
}

func kindOf(err error) string {
	var mismatch sec.ErrPeerIDMismatch
	var noProtocol multistream.ErrNotSupported[protocol.ID]
	var connection *network.ConnError
	var known *failure
	var slow net.Error
	switch {
	case errors.As(err, &mismatch):
		return "peer_id_mismatch"
	case errors.As(err, &noProtocol):
		return "no_protocol"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.As(err, &known):
		return known.kind
	case errors.Is(err, network.ErrReset):
		return "stream_reset"
	case errors.As(err, &slow) && slow.Timeout():
		return "timeout"
	case errors.As(err, &connection), errors.Is(err, net.ErrClosed), errors.Is(err, network.ErrNoConn):
		return "connection_lost"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "unexpected_eof"
	}
	return "internal"
}

func (p *peer) execute(ctx context.Context, r request) (answer, error) {
	switch r.Command {
	case "stats":
		return p.stats(ctx, r)
	case "close_connections":
		return p.closeConnections()
	case "wrong_peer":
		return p.wrongPeer(ctx, r)
	case "handle":
		p.handle(r.Protocol)
		return nil, nil
	case "unhandle":
		p.host.RemoveStreamHandler(r.Protocol)
		return nil, nil
	}
	if result, err, known := p.bench.execute(ctx, r); known {
		return result, err
	}
	conn, err := p.connect(ctx, r)
	if err != nil {
		return nil, err
	}
	remote := conn.RemotePeer()
	switch r.Command {
	case "dial":
		return answer{"peer": remote.String(), "remote_addr": conn.RemoteMultiaddr().String()}, nil
	case "identify":
		return p.identify(ctx, conn)
	case "ping":
		return p.ping(ctx, remote, r.Count)
	case "echo":
		return p.echo(ctx, remote, r.Bytes, r.Seed)
	case "many":
		return p.many(ctx, remote, r)
	case "half":
		return p.half(ctx, remote, r.Bytes, r.Seed)
	case "half_first":
		return p.halfFirst(ctx, remote, r.Bytes, r.Seed)
	case "reset":
		return p.reset(ctx, remote, r.Code)
	case "send_reset":
		return p.sendReset(ctx, remote, r.Code)
	case "oneway":
		return p.oneway(ctx, remote, r)
	case "perf":
		return p.perf(ctx, remote, r.Upload, r.Download)
	case "wait_protocol":
		return nil, p.waitProtocol(ctx, remote, r)
	}
	return nil, badRequest("unknown command %q", r.Command)
}

// connect finds the connection to r's peer, or dials r.Addr and no other address.
func (p *peer) connect(ctx context.Context, r request) (network.Conn, error) {
	if r.Addr == "" {
		id, err := libp2ppeer.Decode(r.Peer)
		if err != nil {
			return nil, badRequest("neither addr nor a peer id: %w", err)
		}
		conns := p.host.Network().ConnsToPeer(id)
		if len(conns) == 0 {
			return nil, &failure{"dial_failed", fmt.Errorf("no connection to %s", id)}
		}
		return conns[0], nil
	}
	info, err := libp2ppeer.AddrInfoFromString(r.Addr)
	if err != nil {
		return nil, badRequest("addr: %w", err)
	}
	return p.connectTo(ctx, info)
}

func (p *peer) connectTo(ctx context.Context, info *libp2ppeer.AddrInfo) (network.Conn, error) {
	net := p.host.Network()
	if net.Connectedness(info.ID) != network.Connected {
		// Identify taught us other addresses, and a failure a backoff: forget both.
		net.Peerstore().ClearAddrs(info.ID)
		if s, ok := net.(*swarm.Swarm); ok {
			s.Backoff().Clear(info.ID)
		}
	}
	if err := p.host.Connect(ctx, *info); err != nil {
		return nil, &failure{"dial_failed", err}
	}
	conns := net.ConnsToPeer(info.ID)
	if len(conns) == 0 {
		return nil, &failure{"connection_lost", fmt.Errorf("connected to %s and lost it", info.ID)}
	}
	return conns[0], nil
}

// open gives a stream that fails at the deadline of ctx.
func (p *peer) open(ctx context.Context, remote libp2ppeer.ID, id protocol.ID) (network.Stream, error) {
	s, err := p.host.NewStream(ctx, remote, id)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := s.SetDeadline(deadline); err != nil {
		s.Reset()
		return nil, err
	}
	return s, nil
}

func (p *peer) identify(ctx context.Context, conn network.Conn) (answer, error) {
	var done event.EvtPeerIdentificationCompleted
	err := p.wait(ctx, func() (ok bool) {
		done, ok = p.identified[conn.ID()]
		return ok
	})
	if err != nil {
		return nil, err
	}
	listen := []string{}
	for _, addr := range done.ListenAddrs {
		listen = append(listen, addr.String())
	}
	var observed any
	if done.ObservedAddr != nil {
		observed = done.ObservedAddr.String()
	}
	return answer{
		"peer":             done.Peer.String(),
		"agent":            done.AgentVersion,
		"protocol_version": done.ProtocolVersion,
		"protocols":        protocol.ConvertToStrings(done.Protocols),
		"listen_addrs":     listen,
		"observed_addr":    observed,
		"signed_record":    done.SignedPeerRecord != nil,
	}, nil
}

func (p *peer) ping(ctx context.Context, remote libp2ppeer.ID, count int) (answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := ping.Ping(ctx, p.host, remote)
	rtts := []int64{}
	for range max(count, 1) {
		result, ok := <-results
		if !ok {
			return nil, context.Cause(ctx)
		}
		if result.Error != nil {
			return nil, result.Error
		}
		rtts = append(rtts, result.RTT.Microseconds())
	}
	return answer{"rtts": rtts}, nil
}

// write sends n pseudo-random bytes in blocks: block i is SHAKE128(le64(seed) || le64(i)).
func write(w io.Writer, n int64, seed uint64) error {
	for i := uint64(0); n > 0; i++ {
		var name [16]byte
		binary.LittleEndian.PutUint64(name[:8], seed)
		binary.LittleEndian.PutUint64(name[8:], i)
		block := sha3.SumSHAKE128(name[:], int(min(n, blockSize)))
		if _, err := w.Write(block); err != nil {
			return err
		}
		n -= int64(len(block))
	}
	return nil
}

func (p *peer) echo(ctx context.Context, remote libp2ppeer.ID, n int64, seed uint64) (answer, error) {
	begin := time.Now()
	s, err := p.open(ctx, remote, protocolEcho)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	sent, received := sha256.New(), sha256.New()
	written := make(chan error, 1)
	go func() {
		err := write(io.MultiWriter(sent, s), n, seed)
		if err == nil {
			err = s.CloseWrite()
		}
		written <- err
	}()
	got, err := io.Copy(received, s)
	if err != nil {
		s.Reset()
		<-written
		return nil, err
	}
	if err := <-written; err != nil {
		return nil, err
	}
	return answer{
		"sent_sha256":     hex.EncodeToString(sent.Sum(nil)),
		"received_sha256": hex.EncodeToString(received.Sum(nil)),
		"received":        got,
		"micros":          time.Since(begin).Microseconds(),
	}, nil
}

func (p *peer) many(ctx context.Context, remote libp2ppeer.ID, r request) (answer, error) {
	type result struct {
		answer answer
		err    error
	}
	begin := time.Now()
	results := make(chan result, r.Streams)
	for i := range r.Streams {
		go func() {
			a, err := p.echo(ctx, remote, r.Bytes, r.Seed+uint64(i))
			results <- result{a, err}
		}()
	}
	intact := 0
	var first error
	for range r.Streams {
		done := <-results
		switch {
		case done.err != nil:
			if first == nil {
				first = done.err
			}
		case done.answer["sent_sha256"] == done.answer["received_sha256"]:
			intact++
		}
	}
	return answer{"streams": r.Streams, "intact": intact, "micros": time.Since(begin).Microseconds()}, first
}

func (p *peer) half(ctx context.Context, remote libp2ppeer.ID, n int64, seed uint64) (answer, error) {
	s, err := p.open(ctx, remote, protocolHalf)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := write(s, n, seed); err != nil {
		return nil, err
	}
	if err := s.CloseWrite(); err != nil {
		return nil, err
	}
	got, err := io.ReadAll(io.LimitReader(s, blockSize))
	if err != nil {
		return nil, err
	}
	return answer{"answer": string(got)}, nil
}

func (p *peer) halfFirst(ctx context.Context, remote libp2ppeer.ID, n int64, seed uint64) (answer, error) {
	s, err := p.open(ctx, remote, protocolHalfFirst)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	got, err := io.ReadAll(io.LimitReader(s, blockSize))
	if err != nil {
		return nil, err
	}
	if err := write(s, n, seed); err != nil {
		return nil, err
	}
	return answer{"greeting": string(got)}, s.CloseWrite()
}

func (p *peer) reset(ctx context.Context, remote libp2ppeer.ID, code uint32) (answer, error) {
	s, err := p.open(ctx, remote, protocolReset)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	if _, err := s.Write([]byte{byte(code)}); err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, s)
	if err == nil {
		return answer{"seen": "eof", "code": nil}, nil
	}
	return answer{"seen": kindOf(err), "code": codeOf(err), "text": err.Error()}, nil
}

func (p *peer) sendReset(ctx context.Context, remote libp2ppeer.ID, code uint32) (answer, error) {
	s, err := p.open(ctx, remote, protocolResetMe)
	if err != nil {
		return nil, err
	}
	var ready [1]byte
	if _, err := io.ReadFull(s, ready[:]); err != nil {
		s.Reset()
		return nil, err
	}
	return nil, s.ResetWithError(network.StreamErrorCode(code))
}

func (p *peer) oneway(ctx context.Context, remote libp2ppeer.ID, r request) (answer, error) {
	for i := range r.Count {
		s, err := p.open(ctx, remote, protocolSink)
		if err != nil {
			return nil, err
		}
		if err := write(s, r.Bytes, r.Seed+uint64(i)); err != nil {
			s.Reset()
			return nil, err
		}
		if err := s.Close(); err != nil {
			return nil, err
		}
	}
	return answer{"streams": r.Count, "bytes": r.Bytes * int64(r.Count)}, nil
}

func (p *peer) wrongPeer(ctx context.Context, r request) (answer, error) {
	addr, err := ma.NewMultiaddr(r.Addr)
	if err != nil {
		return nil, badRequest("addr: %w", err)
	}
	_, public, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	id, err := libp2ppeer.IDFromPublicKey(public)
	if err != nil {
		return nil, err
	}
	transport, _ := libp2ppeer.SplitAddr(addr)
	defer p.host.Network().Peerstore().ClearAddrs(id)
	_, err = p.connectTo(ctx, &libp2ppeer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{transport}})
	if err == nil {
		return nil, &failure{"not_refused", fmt.Errorf("%s answered for %s", r.Addr, id)}
	}
	return answer{"seen": kindOf(err), "text": err.Error()}, nil
}

func (p *peer) closeConnections() (answer, error) {
	conns := p.host.Network().Conns()
	var errs []error
	for _, conn := range conns {
		errs = append(errs, conn.Close())
	}
	return answer{"closed": len(conns)}, errors.Join(errs...)
}

func (p *peer) stats(ctx context.Context, r request) (answer, error) {
	var result answer
	var unknown error
	err := p.wait(ctx, func() bool {
		connections := int64(len(p.host.Network().Conns()))
		result = answer{"connections": connections}
		values := map[string]int64{"connections": connections}
		for name, t := range p.tallies {
			result[name] = *t
			values[name+".opened"], values[name+".eof"], values[name+".eof_bytes"] = t.Opened, t.EOF, t.EOFBytes
			values[name+".reset"], values[name+".other"] = t.Reset, t.Other
		}
		for name, wanted := range r.Until {
			value, ok := values[name]
			if !ok {
				unknown = badRequest("until: no counter %q among %s", name, strings.Join(names(values), " "))
				return true
			}
			if value != wanted {
				return false
			}
		}
		return true
	})
	return result, errors.Join(unknown, err)
}

func names(values map[string]int64) (all []string) {
	for name := range values {
		all = append(all, name)
	}
	return all
}
