package main

import (
	"context"
	"encoding/binary"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// go-libp2p has no perf of its own.
const protocolPerf protocol.ID = "/perf/1.0.0"

// servePerf reads how many bytes are wanted and all that is uploaded, then sends as many. Counted without the first eight.
func servePerf(s network.Stream) (int64, error) {
	var wanted [8]byte
	if _, err := io.ReadFull(s, wanted[:]); err != nil {
		return 0, err
	}
	uploaded, err := io.Copy(io.Discard, s)
	if err != nil {
		return uploaded, err
	}
	return uploaded, sendZeros(s, binary.BigEndian.Uint64(wanted[:]))
}

func sendZeros(w io.Writer, size uint64) error {
	zeros := make([]byte, blockSize)
	for size > 0 {
		n := min(size, blockSize)
		if _, err := w.Write(zeros[:n]); err != nil {
			return err
		}
		size -= n
	}
	return nil
}

func (p *peer) perf(ctx context.Context, remote libp2ppeer.ID, upload, download uint64) (answer, error) {
	s, err := p.open(ctx, remote, protocolPerf)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	begin := time.Now()
	if err := binary.Write(s, binary.BigEndian, download); err != nil {
		return nil, err
	}
	if err := sendZeros(s, upload); err != nil {
		return nil, err
	}
	if err := s.CloseWrite(); err != nil {
		return nil, err
	}
	uploaded := time.Now()
	downloaded, err := io.Copy(io.Discard, s)
	if err != nil {
		return nil, err
	}
	return answer{
		"uploaded":        upload,
		"downloaded":      downloaded,
		"upload_micros":   uploaded.Sub(begin).Microseconds(),
		"download_micros": time.Since(uploaded).Microseconds(),
	}, nil
}
