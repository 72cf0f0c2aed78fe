// Load sends one request again and again over TLS and times each answer; several such jobs can take turns.
//
// It reads its work as JSON from standard input and writes what it measured as JSON to standard output. Every
// answer is checked; the first that is wrong ends the run with its text and exit status 1, unless the job
// tolerates some: those are counted.
//
// A request is written as Go's net/http writes it, and so the API server: the first 4096 bytes in one piece,
// then pieces of 32 KiB. Each piece is a write to TLS, which is what the server has to read.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Work is jobs by name, and the order of their turns. A job keeps its connections from turn to turn.
type Work struct {
	Jobs  map[string]*Job `json:"jobs"`
	Order []string        `json:"order"`
}

// Job says what to send where, and what to expect. Durations are in seconds.
type Job struct {
	Address string            `json:"address"`
	CA      string            `json:"ca"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	// Serial, where it is not empty, stands in the body and is replaced by the end of the request's number, as long.
	Serial      string `json:"serial"`
	Connections int    `json:"connections"`
	// Warmup is how long requests are sent before they count.
	Warmup  float64 `json:"warmup"`
	Seconds float64 `json:"seconds"`
	// Count, where it is not 0, ends the run after so many requests; there is no warm-up then.
	Count  int    `json:"count"`
	Expect Expect `json:"expect"`
	// Tolerate is how many wrong answers each connection may get in a turn before the run fails.
	Tolerate int `json:"tolerate"`
}

// Measured is what came of it.
type Measured struct {
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
	TLS        string  `json:"tls"`
	// Failures are answers that were wrong and tolerated, Failure the text of one of them.
	Failures int    `json:"failures"`
	Failure  string `json:"failure"`
	// Within is how many were answered right from the end of the warm-up to the end.
	Within int `json:"within"`
	// Latencies in microseconds, in no order: those of Within, and of what was sent before the end and answered after it.
	Latencies []int64 `json:"latencies"`
}

func main() {
	turns, err := run()
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(turns)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run() ([]*Measured, error) {
	var work Work
	if err := json.NewDecoder(os.Stdin).Decode(&work); err != nil {
		return nil, fmt.Errorf("work: %w", err)
	}
	clients := map[string][]*client{}
	for name, job := range work.Jobs {
		var err error
		if clients[name], err = prepare(job); err != nil {
			return nil, err
		}
	}
	turns := []*Measured{}
	for _, name := range work.Order {
		measured, err := measure(work.Jobs[name], clients[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", work.Jobs[name].Path, err)
		}
		turns = append(turns, measured)
	}
	return turns, nil
}

func prepare(job *Job) ([]*client, error) {
	body, err := os.ReadFile(job.Body)
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(body, []byte(job.Serial)) {
		return nil, fmt.Errorf("%s does not hold %q", job.Body, job.Serial)
	}
	return connect(job, request(job, body))
}

func request(job *Job, body []byte) []byte {
	var head strings.Builder
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: kube-apiserver-admission\r\n", job.Path, job.Address)
	fmt.Fprintf(&head, "Content-Length: %d\r\nAccept: application/json, */*\r\n", len(body))
	fmt.Fprint(&head, "Content-Type: application/json\r\nAccept-Encoding: gzip\r\n")
	for name, value := range job.Headers {
		fmt.Fprintf(&head, "%s: %s\r\n", name, value)
	}
	head.WriteString("\r\n")
	return append([]byte(head.String()), body...)
}

// measure lets every client send until the time is over, and counts between warm-up and end.
func measure(job *Job, clients []*client) (*Measured, error) {
	for _, each := range clients {
		each.forget()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	begin := time.Now().Add(seconds(job.Warmup))
	end := begin.Add(seconds(job.Seconds))
	var tickets *tickets
	if job.Count > 0 {
		begin, end = time.Now(), time.Now().Add(time.Hour)
		tickets = newTickets(job.Count)
	}
	var used usage
	used.watch(begin)
	var running sync.WaitGroup
	for _, each := range clients {
		running.Add(1)
		go func() {
			defer running.Done()
			if err := each.send(ctx, begin, end, tickets); err != nil {
				cancel(err)
			}
		}()
	}
	running.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	measured := &Measured{Seconds: job.Seconds, TLS: clients[0].tls(), Latencies: []int64{}}
	if job.Count > 0 {
		measured.Seconds = time.Since(begin).Seconds()
	}
	measured.CPUSeconds = used.since()
	for _, each := range clients {
		measured.Latencies = append(measured.Latencies, each.latencies...)
		measured.Within += each.within
		measured.Failures += each.failures
		measured.Failure = max(measured.Failure, each.failure)
	}
	return measured, nil
}

func seconds(value float64) time.Duration {
	return time.Duration(value * float64(time.Second))
}

// tickets hands out a number of requests among clients.
type tickets struct {
	left chan struct{}
}

func newTickets(count int) *tickets {
	left := make(chan struct{}, count)
	for range count {
		left <- struct{}{}
	}
	close(left)
	return &tickets{left}
}

func (t *tickets) take() bool {
	if t == nil {
		return true
	}
	_, there := <-t.left
	return there
}

// usage is the CPU time of this process from the begin of what counts.
type usage struct {
	mutex sync.Mutex
	begin float64
}

func (u *usage) watch(begin time.Time) {
	u.begin = cpuSeconds()
	time.AfterFunc(time.Until(begin), func() {
		u.mutex.Lock()
		defer u.mutex.Unlock()
		u.begin = cpuSeconds()
	})
}

func (u *usage) since() float64 {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	return cpuSeconds() - u.begin
}

func cpuSeconds() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

// Expect is what makes an answer right.
type Expect struct {
	Status int `json:"status"`
	// Review: the body is an AdmissionReview that allows the request and patches the object.
	Review bool `json:"review"`
	// Contains, where it is not empty, stands somewhere in the body.
	Contains string `json:"contains"`
}

// check is called for each answer; `known` are bytes that were found right before.
func (e *Expect) check(status int, body, known []byte) error {
	if status != e.Status {
		return fmt.Errorf("the answer's status is %d, not %d: %.500s", status, e.Status, body)
	}
	if e.Review && !bytes.Equal(body, known) {
		if err := checkReview(body); err != nil {
			return fmt.Errorf("%w: %.500s", err, body)
		}
	}
	if e.Contains != "" && !bytes.Contains(body, []byte(e.Contains)) {
		return fmt.Errorf("the answer does not contain %q: %.500s", e.Contains, body)
	}
	return nil
}

// checkReview reads an answer as the API server does.
func checkReview(body []byte) error {
	var review struct {
		Response struct {
			Allowed   bool   `json:"allowed"`
			PatchType string `json:"patchType"`
			Patch     []byte `json:"patch"`
		} `json:"response"`
	}
	if err := json.Unmarshal(body, &review); err != nil {
		return fmt.Errorf("the answer is no AdmissionReview: %w", err)
	}
	response := review.Response
	var operations []json.RawMessage
	switch {
	case !response.Allowed:
		return fmt.Errorf("the answer refuses the pod")
	case response.PatchType != "JSONPatch":
		return fmt.Errorf("the answer has no JSON Patch")
	case json.Unmarshal(response.Patch, &operations) != nil || len(operations) == 0:
		return fmt.Errorf("the answer's patch is no list of operations")
	}
	return nil
}
