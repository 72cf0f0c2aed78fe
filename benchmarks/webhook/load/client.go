package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

const (
	firstPiece = 4 << 10  // net/http's buffer, headers included
	nextPieces = 32 << 10 // io.Copy's buffer
	patience   = 60 * time.Second
)

// numbers counts the requests of all clients.
var numbers atomic.Int64

// client is one kept-alive connection.
type client struct {
	connection *tls.Conn
	reader     *bufio.Reader
	request    []byte
	serials    [][]byte
	expect     *Expect
	known      []byte
	body       bytes.Buffer
	latencies  []int64
	within     int
	tolerate   int
	failures   int
	failure    string
}

func connect(job *Job, request []byte) ([]*client, error) {
	pem, err := os.ReadFile(job.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", job.CA)
	}
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}
	clients := make([]*client, job.Connections)
	for i := range clients {
		connection, err := tls.Dial("tcp", job.Address, config)
		if err != nil {
			return nil, err
		}
		reader := bufio.NewReaderSize(connection, nextPieces)
		clients[i] = &client{
			connection: connection,
			reader:     reader,
			request:    bytes.Clone(request),
			expect:     &job.Expect,
			tolerate:   job.Tolerate,
		}
		clients[i].serials = places(clients[i].request, job.Serial)
	}
	return clients, nil
}

// places returns where the words stand in the request.
func places(request []byte, words string) (found [][]byte) {
	for at := 0; words != ""; at += len(words) {
		next := bytes.Index(request[at:], []byte(words))
		if next < 0 {
			break
		}
		at += next
		found = append(found, request[at:at+len(words)])
	}
	return found
}

// forget makes a turn start with nothing measured.
func (c *client) forget() {
	c.latencies, c.within, c.failures, c.failure = nil, 0, 0, ""
}

func (c *client) tls() string {
	state := c.connection.ConnectionState()
	return fmt.Sprintf("%s %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
}

// send sends until the end or until there are no tickets left, and keeps the latencies of what was answered from begin on.
func (c *client) send(ctx context.Context, begin, end time.Time, tickets *tickets) error {
	for ctx.Err() == nil {
		sent := time.Now()
		if !sent.Before(end) || !tickets.take() {
			return nil
		}
		status, err := c.exchange(sent)
		if err != nil {
			return err
		}
		answered := time.Now()
		if err := c.check(status); err != nil {
			if c.failures++; c.failures > c.tolerate {
				return err
			}
			c.failure = err.Error()
			continue
		}
		// Whatever was sent before the end has a latency that counts: with those alone that were answered before it,
		// no answer could be slower than a turn is long, and a slow server would lose more of its answers than a fast one.
		if answered.Before(begin) {
			continue
		}
		c.latencies = append(c.latencies, answered.Sub(sent).Microseconds())
		if answered.Before(end) {
			c.within++
		}
	}
	return nil
}

// exchange sends the request and reads the answer into body; its error ends the connection.
func (c *client) exchange(now time.Time) (status int, err error) {
	if len(c.serials) > 0 {
		size := len(c.serials[0])
		number := fmt.Sprintf("%0*d", size, numbers.Add(1))
		for _, place := range c.serials {
			copy(place, number[len(number)-size:])
		}
	}
	if err := c.connection.SetDeadline(now.Add(patience)); err != nil {
		return 0, err
	}
	if err := c.write(); err != nil {
		return 0, fmt.Errorf("sending: %w", err)
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0, fmt.Errorf("reading the answer: %w", err)
	}
	c.body.Reset()
	if _, err := io.Copy(&c.body, response.Body); err != nil {
		return 0, fmt.Errorf("reading the answer's body: %w", err)
	}
	if err := response.Body.Close(); err != nil {
		return 0, err
	}
	if response.Close {
		return 0, fmt.Errorf("the server closes the connection after status %d: keep-alive is off", response.StatusCode)
	}
	return response.StatusCode, nil
}

func (c *client) check(status int) error {
	if err := c.expect.check(status, c.body.Bytes(), c.known); err != nil {
		return err
	}
	if c.expect.Review && c.known == nil {
		c.known = bytes.Clone(c.body.Bytes())
	}
	return nil
}

func (c *client) write() error {
	rest := c.request
	for size := firstPiece; len(rest) > 0; size = nextPieces {
		piece := rest[:min(size, len(rest))]
		if _, err := c.connection.Write(piece); err != nil {
			return err
		}
		rest = rest[len(piece):]
	}
	return nil
}
