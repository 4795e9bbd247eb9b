package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// What became of an operation.
const (
	outcomeOK      = "ok"
	outcomeFail    = "fail"    // certainly not executed: an ERROR, the transaction was rolled back
	outcomeUnknown = "unknown" // executed or not, and if so at any time after the invocation
)

// The operations. A read is an UPDATE that changes nothing: it commits as a write does.
const (
	opRead   = "read"
	opWrite  = "write"  // of a register
	opAppend = "append" // to a list
)

// operation is one line of a history: one transaction on one row, as its client saw it.
type operation struct {
	Client  int     `json:"client"` // of one at a time: a client that does not know is followed by another
	Key     string  `json:"key"`    // "register/3"
	Op      string  `json:"op"`
	Value   int64   `json:"value,omitempty"` // written or appended; no value is used twice
	Result  []int64 `json:"result,omitempty"`
	Missing bool    `json:"missing,omitempty"` // the server has no such row
	Call    int64   `json:"call"`              // ns of one clock; so is the return, of whatever outcome
	Return  int64   `json:"return"`
	Outcome string  `json:"outcome"`
	Server  string  `json:"server"`
	Error   string  `json:"error,omitempty"`
}

// closing is the last line. Without it the recorder was ended before its operations were, and what they
// did would be missing.
type closing struct {
	End bool `json:"end"`
}

// history is a file that is being written.
type history struct {
	mu   sync.Mutex
	file *os.File
	err  error // the first one
	wall int64
	from time.Time
}

func createHistory(path string) (*history, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &history{file: f, wall: now.UnixNano(), from: now}, nil
}

// now is monotonic; its origin is the wall clock at the start, so that instants compare with logs.
func (h *history) now() int64 {
	return h.wall + int64(time.Since(h.from))
}

func (h *history) line(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.file.Write(append(text, '\n')); err != nil && h.err == nil {
		h.err = err
	}
}

func (h *history) close() error {
	h.line(closing{End: true})
	return errors.Join(h.err, h.file.Close())
}

// readHistory returns all operations, or an error when the file is not a whole history.
func readHistory(path string) ([]operation, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var ops []operation
	ended := false
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for n := 1; lines.Scan(); n++ {
		var row struct {
			operation
			closing
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if ended {
			return nil, fmt.Errorf("%s:%d: an operation after the end", path, n)
		}
		if ended = row.End; ended {
			continue
		}
		if err := row.operation.wrong(); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		ops = append(ops, row.operation)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !ended {
		return nil, fmt.Errorf("%s: it has no end: the recorder was killed", path)
	}
	return ops, nil
}

// wrong tells what no recorder would have written.
func (o *operation) wrong() error {
	m, err := modelOf(o.Key)
	if err != nil {
		return err
	}
	if o.Op != opRead && o.Op != m.write {
		return fmt.Errorf("%s: no operation %q", o.Key, o.Op)
	}
	if o.Outcome != outcomeOK && o.Outcome != outcomeFail && o.Outcome != outcomeUnknown {
		return fmt.Errorf("no outcome %q", o.Outcome)
	}
	if o.Return < o.Call {
		return fmt.Errorf("it returned before it was called")
	}
	return nil
}
