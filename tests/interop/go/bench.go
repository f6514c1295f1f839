// The benchmark commands of the control contract (../README.md, "Benchmarks").
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	benchSink   protocol.ID = "/bench/sink/1.0.0"
	benchAnswer protocol.ID = "/bench/answer/1.0.0"

	smallSize   = 32
	dialsAtOnce = 16
)

// way is a host and whom it is connected to.
type way struct {
	host   host.Host
	remote libp2ppeer.ID
}

// bench serves the benchmarks' protocols on a host, and executes their commands.
type bench struct {
	peer    *peer
	another func(listen ...string) (host.Host, error)

	mu        sync.Mutex
	crowd     []way
	pinging   []network.Stream // on each connection of the crowd, once they ping
	listening []host.Host      // others', of whose connections nothing is known here
}

func newBench(p *peer, another func(listen ...string) (host.Host, error)) *bench {
	p.host.SetStreamHandler(benchSink, func(s network.Stream) {
		n, err := io.Copy(io.Discard, s)
		if err == nil {
			err = binary.Write(s, binary.BigEndian, n)
		}
		end(s, err)
	})
	p.host.SetStreamHandler(benchAnswer, answerSmall)
	return &bench{peer: p, another: another}
}

func answerSmall(s network.Stream) {
	var small [smallSize]byte
	for {
		_, err := io.ReadFull(s, small[:])
		if err == nil {
			_, err = s.Write(small[:])
		}
		if errors.Is(err, io.EOF) {
			s.Close()
			return
		}
		if err != nil {
			end(s, err)
			return
		}
	}
}

func end(s network.Stream, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", s.Protocol(), err)
		s.Reset()
		return
	}
	s.Close()
}

// execute tells whether the command is one of these.
func (b *bench) execute(ctx context.Context, r request) (answer, error, bool) {
	var result answer
	var err error
	switch r.Command {
	case "bench_usage":
		result, err = usage(r.Settle)
	case "bench_bulk":
		result, err = b.bulk(ctx, r)
	case "bench_requests":
		result, err = b.requests(ctx, r)
	case "bench_round_trips":
		result, err = b.roundTrips(ctx, r)
	case "bench_beside":
		result, err = b.beside(ctx, r)
	case "bench_pings":
		result, err = b.pings(ctx, r)
	case "bench_handshakes":
		result, err = b.handshakes(ctx, r)
	case "bench_crowd":
		result, err = b.gather(ctx, r)
	case "bench_listening_crowd":
		result, err = b.gatherListening(r)
	case "bench_dials":
		err = b.dialAll(ctx, r)
	case "bench_disperse":
		err = b.disperse()
	default:
		return nil, nil, false
	}
	return result, err, true
}

func usage(settle bool) (answer, error) {
	if settle {
		debug.FreeOSMemory()
	}
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return nil, err
	}
	micros := (used.Utime.Nano() + used.Stime.Nano()) / 1000
	return answer{"pid": os.Getpid(), "cpu_micros": micros}, nil
}

func (b *bench) way(ctx context.Context, r request) (way, error) {
	conn, err := b.peer.connect(ctx, r)
	if err != nil {
		return way{}, err
	}
	return way{b.peer.host, conn.RemotePeer()}, nil
}

// pour writes n bytes by writes of the size of data, and reads the sink's count of them.
func (w way) pour(ctx context.Context, n int64, data []byte) error {
	s, err := w.host.NewStream(ctx, w.remote, benchSink)
	if err != nil {
		return err
	}
	defer s.Reset() // nothing, after Close
	for left := n; left > 0; {
		wrote, err := s.Write(data[:min(int64(len(data)), left)])
		if err != nil {
			return err
		}
		left -= int64(wrote)
	}
	return finish(s, n)
}

// finish closes the side that wrote n bytes, and reads the sink's count of them.
func finish(s network.Stream, n int64) error {
	if err := s.CloseWrite(); err != nil {
		return err
	}
	var got int64
	if err := binary.Read(s, binary.BigEndian, &got); err != nil {
		return err
	}
	if got != n {
		return fmt.Errorf("%d bytes were sent and %d arrived", n, got)
	}
	return s.Close()
}

// ask opens a stream for one request and its answer.
func (w way) ask(ctx context.Context) error {
	s, err := w.host.NewStream(ctx, w.remote, benchAnswer)
	if err != nil {
		return err
	}
	var small [smallSize]byte
	if err := askOn(s, small[:]); err != nil {
		s.Reset()
		return err
	}
	return s.Close()
}

func askOn(s network.Stream, small []byte) error {
	if _, err := s.Write(small); err != nil {
		return err
	}
	_, err := io.ReadFull(s, small)
	return err
}

// together runs all of it at once; the first error counts.
func together(n int, run func(i int) error) error {
	results := make(chan error, n)
	for i := range n {
		go func() { results <- run(i) }()
	}
	var first error
	for range n {
		if err := <-results; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (b *bench) bulk(ctx context.Context, r request) (answer, error) {
	b.mu.Lock()
	ways := b.crowd
	b.mu.Unlock()
	if !r.Crowd {
		w, err := b.way(ctx, r)
		if err != nil {
			return nil, err
		}
		ways = nil
		for range max(r.Streams, 1) {
			ways = append(ways, w)
		}
	}
	data := make([]byte, r.Write)
	rand.Read(data)
	each := r.Bytes / int64(len(ways))
	shares := make([]int64, len(ways))
	begin := time.Now()
	err := together(len(ways), func(i int) error {
		err := ways[i].pour(ctx, each, data)
		shares[i] = time.Since(begin).Microseconds()
		return err
	})
	micros := time.Since(begin).Microseconds()
	return answer{"micros": micros, "bytes": each * int64(len(ways)), "shares": shares}, err
}

func (b *bench) requests(ctx context.Context, r request) (answer, error) {
	w, err := b.way(ctx, r)
	if err != nil {
		return nil, err
	}
	samples := make([]int64, r.Count)
	var next atomic.Int64
	begin := time.Now()
	err = together(max(r.AtOnce, 1), func(int) error {
		for {
			i := int(next.Add(1)) - 1
			if i >= r.Count {
				return nil
			}
			asked := time.Now()
			if err := w.ask(ctx); err != nil {
				return err
			}
			samples[i] = time.Since(asked).Microseconds()
		}
	})
	return answer{"micros": time.Since(begin).Microseconds(), "samples": samples}, err
}

func (b *bench) roundTrips(ctx context.Context, r request) (answer, error) {
	w, err := b.way(ctx, r)
	if err != nil {
		return nil, err
	}
	s, err := w.host.NewStream(ctx, w.remote, benchAnswer)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var small [smallSize]byte
	if err := askOn(s, small[:]); err != nil {
		return nil, err
	}
	samples := make([]int64, r.Count)
	begin := time.Now()
	for i := range samples {
		asked := time.Now()
		if err := askOn(s, small[:]); err != nil {
			return nil, err
		}
		samples[i] = time.Since(asked).Microseconds()
	}
	return answer{"micros": time.Since(begin).Microseconds(), "samples": samples}, nil
}

// beside asks and is answered on one stream while bulk goes on on another.
func (b *bench) beside(ctx context.Context, r request) (answer, error) {
	w, err := b.way(ctx, r)
	if err != nil {
		return nil, err
	}
	asking, err := w.host.NewStream(ctx, w.remote, benchAnswer)
	if err != nil {
		return nil, err
	}
	defer asking.Reset() // nothing, after Close
	var small [smallSize]byte
	if err := askOn(asking, small[:]); err != nil {
		return nil, err
	}
	bulk, err := w.host.NewStream(ctx, w.remote, benchSink)
	if err != nil {
		return nil, err
	}
	defer bulk.Reset()
	saturated, done := make(chan struct{}), make(chan error, 1)
	samples := []int64{}
	go func() {
		<-saturated
		for until := time.Now().Add(time.Duration(r.Millis) * time.Millisecond); time.Now().Before(until); {
			asked := time.Now()
			if err := askOn(asking, small[:]); err != nil {
				done <- err
				return
			}
			samples = append(samples, time.Since(asked).Microseconds())
			time.Sleep(time.Duration(r.Pause) * time.Millisecond)
		}
		done <- asking.Close()
	}()
	data := make([]byte, r.Write)
	rand.Read(data)
	var sent int64
	for begin := time.Now(); ; {
		n, err := bulk.Write(data)
		if err != nil {
			return nil, err
		}
		before := sent
		sent += int64(n)
		if before < r.Bytes && sent >= r.Bytes {
			close(saturated)
		}
		select {
		case err = <-done:
			if err == nil {
				err = finish(bulk, sent)
			}
			return answer{"micros": time.Since(begin).Microseconds(), "bytes": sent, "samples": samples}, err
		default:
		}
	}
}

// pings has each connection of the crowd ask at its own moment of each period, on a stream that stays open.
func (b *bench) pings(ctx context.Context, r request) (answer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var small [smallSize]byte
	for _, w := range b.crowd[len(b.pinging):] {
		s, err := w.host.NewStream(ctx, w.remote, benchAnswer)
		if err == nil {
			err = askOn(s, small[:])
		}
		if err != nil {
			return nil, err
		}
		b.pinging = append(b.pinging, s)
	}
	period := time.Duration(r.Period) * time.Millisecond
	samples := make([]int64, len(b.pinging)*r.Count)
	begin := time.Now()
	err := together(len(b.pinging), func(i int) error {
		var small [smallSize]byte
		first := begin.Add(period * time.Duration(i) / time.Duration(len(b.pinging)))
		for turn := range r.Count {
			time.Sleep(time.Until(first.Add(period * time.Duration(turn))))
			asked := time.Now()
			if err := askOn(b.pinging[i], small[:]); err != nil {
				return err
			}
			samples[i*r.Count+turn] = time.Since(asked).Microseconds()
		}
		return nil
	})
	return answer{"micros": time.Since(begin).Microseconds(), "samples": samples}, err
}

func (b *bench) handshakes(ctx context.Context, r request) (answer, error) {
	info, err := libp2ppeer.AddrInfoFromString(r.Addr)
	if err != nil {
		return nil, badRequest("addr: %w", err)
	}
	w := way{b.peer.host, info.ID}
	if err := w.host.Network().ClosePeer(w.remote); err != nil {
		return nil, err
	}
	// When a connection ends, identify forgets addresses that were added for a while, in its own time.
	w.host.Peerstore().AddAddrs(w.remote, info.Addrs, peerstore.PermanentAddrTTL)
	dialed, answered := []int64{}, []int64{}
	for range r.Count {
		begin := time.Now()
		if err := w.host.Connect(ctx, libp2ppeer.AddrInfo{ID: w.remote}); err != nil {
			return nil, err
		}
		dialed = append(dialed, time.Since(begin).Microseconds())
		if err := w.ask(ctx); err != nil {
			return nil, err
		}
		answered = append(answered, time.Since(begin).Microseconds())
		if err := w.host.Network().ClosePeer(w.remote); err != nil {
			return nil, err
		}
	}
	return answer{"dialed": dialed, "answered": answered}, nil
}

func (b *bench) gather(ctx context.Context, r request) (answer, error) {
	info, err := libp2ppeer.AddrInfoFromString(r.Addr)
	if err != nil {
		return nil, badRequest("addr: %w", err)
	}
	dialing := make(chan struct{}, dialsAtOnce)
	err = together(r.Count, func(int) error {
		dialing <- struct{}{}
		defer func() { <-dialing }()
		h, err := b.another()
		if err != nil {
			return err
		}
		w := way{h, info.ID}
		b.mu.Lock()
		b.crowd = append(b.crowd, w)
		b.mu.Unlock()
		if err := h.Connect(ctx, *info); err != nil {
			return err
		}
		return w.ask(ctx)
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	return answer{"crowd": len(b.crowd)}, err
}

func (b *bench) gatherListening(r request) (answer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	addrs := []string{}
	for range r.Count {
		h, err := b.another(r.Listen)
		if err != nil {
			return nil, err
		}
		h.SetStreamHandler(benchAnswer, answerSmall)
		b.listening = append(b.listening, h)
		addrs = append(addrs, fmt.Sprintf("%s/p2p/%s", h.Network().ListenAddresses()[0], h.ID()))
	}
	return answer{"addrs": addrs}, nil
}

func (b *bench) dialAll(ctx context.Context, r request) error {
	dialing := make(chan struct{}, dialsAtOnce)
	return together(len(r.Addrs), func(i int) error {
		dialing <- struct{}{}
		defer func() { <-dialing }()
		info, err := libp2ppeer.AddrInfoFromString(r.Addrs[i])
		if err != nil {
			return badRequest("addrs: %w", err)
		}
		if err := b.peer.host.Connect(ctx, *info); err != nil {
			return err
		}
		return way{b.peer.host, info.ID}.ask(ctx)
	})
}

func (b *bench) disperse() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, h := range b.listening {
		errs = append(errs, h.Close())
	}
	for _, w := range b.crowd {
		errs = append(errs, w.host.Close())
	}
	b.crowd, b.pinging, b.listening = nil, nil, nil
	return errors.Join(errs...)
}
