// An interop peer on go-libp2p. The control contract it speaks is in ../README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

const (
	longestLine    = 1 << 20
	defaultTimeout = 20 * time.Second
)

type request struct {
	ID        json.RawMessage  `json:"id"`
	Command   string           `json:"command"`
	Addr      string           `json:"addr"`
	Peer      string           `json:"peer"`
	Count     int              `json:"count"`
	Bytes     int64            `json:"bytes"`
	Streams   int              `json:"streams"`
	Seed      uint64           `json:"seed"`
	Code      uint32           `json:"code"`
	TimeoutMS int64            `json:"timeout_ms"`
	Until     map[string]int64 `json:"until"`
	Write     int              `json:"write"`
	AtOnce    int              `json:"at_once"`
	Crowd     bool             `json:"crowd"`
	Settle    bool             `json:"settle"`
	Listen    string           `json:"listen"`
	Addrs     []string         `json:"addrs"`
	Millis    int64            `json:"millis"`
	Pause     int64            `json:"pause"`
	Period    int64            `json:"period"`
	Upload    uint64           `json:"upload"`
	Download  uint64           `json:"download"`
	Protocol  protocol.ID      `json:"protocol"`
	Present   *bool            `json:"present"` // nil: true
}

type answer map[string]any

// lines writes whole JSON lines, one at a time.
type lines struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (l *lines) write(line answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.out.Encode(line); err != nil {
		fmt.Fprintln(os.Stderr, "stdout:", err)
		os.Exit(1)
	}
}

type multiaddrs []string

func (m *multiaddrs) String() string { return fmt.Sprint(*m) }
func (m *multiaddrs) Set(value string) error {
	*m = append(*m, value)
	return nil
}

func newHost(security, muxer string, listen []string) (host.Host, error) {
	options := []libp2p.Option{
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.UserAgent("interop-go"),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.DisableIdentifyAddressDiscovery(),
	}
	if len(listen) == 0 {
		options = append(options, libp2p.NoListenAddrs)
	} else {
		options = append(options, libp2p.ListenAddrStrings(listen...))
	}
	switch security {
	case "noise":
		options = append(options, libp2p.Security(noise.ID, noise.New))
	default:
		return nil, fmt.Errorf("--security %s: not supported", security)
	}
	switch muxer {
	case "yamux":
		options = append(options, libp2p.Muxer(yamux.ID, yamux.DefaultTransport))
	case "mplex":
		options = append(options, libp2p.Muxer(mplexID, mplexTransport{}))
	default:
		return nil, fmt.Errorf("--muxer %s: not supported", muxer)
	}
	return libp2p.New(options...)
}

func run() error {
	var listen multiaddrs
	security := flag.String("security", "noise", "the one security protocol offered")
	muxer := flag.String("muxer", "yamux", "the one muxer offered")
	flag.Var(&listen, "listen", "a multiaddr to listen on (may be given again); none: only dial")
	flag.Parse()

	h, err := newHost(*security, *muxer, listen)
	if err != nil {
		return err
	}
	defer h.Close()
	p, err := newPeer(h)
	if err != nil {
		return err
	}
	p.bench = newBench(p, func(listen ...string) (host.Host, error) {
		return newHost(*security, *muxer, listen)
	})

	out := &lines{out: json.NewEncoder(os.Stdout)}
	addrs := []string{}
	for _, addr := range h.Network().ListenAddresses() {
		addrs = append(addrs, fmt.Sprintf("%s/p2p/%s", addr, h.ID()))
	}
	out.write(answer{"event": "ready", "peer_id": h.ID().String(), "addrs": addrs})

	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, longestLine)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			out.write(answer{"id": nil, "ok": false, "kind": "bad_request", "error": err.Error()})
			continue
		}
		if r.Command == "quit" {
			out.write(answer{"id": r.ID, "ok": true})
			return nil
		}
		go func() { out.write(p.answer(r)) }()
	}
	return in.Err()
}

func (p *peer) answer(r request) answer {
	timeout := defaultTimeout
	if r.TimeoutMS > 0 {
		timeout = time.Duration(r.TimeoutMS) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	result, err := p.execute(ctx, r)
	if result == nil {
		result = answer{}
	}
	result["id"], result["ok"] = r.ID, err == nil
	if err != nil {
		result["kind"], result["error"] = kindOf(err), err.Error()
	}
	return result
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
