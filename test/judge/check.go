package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// verdict is what `judge check` prints.
type verdict struct {
	Verdict string   `json:"verdict"` // linearizable, broken, undecided
	Keys    int      `json:"keys"`
	Reads   int      `json:"reads"` // answered
	Writes  int      `json:"writes"`
	Failed  int      `json:"failed"`
	Unknown int      `json:"unknown"`
	Servers int      `json:"servers"`          // that executed something
	Broken  []string `json:"broken,omitempty"` // keys whose history has no explanation
	Open    []string `json:"undecided,omitempty"`
	Picture string   `json:"picture,omitempty"` // of the shortest of the broken
	Seconds float64  `json:"seconds"`
}

const (
	linearizable = "linearizable"
	broken       = "broken"
	undecided    = "undecided" // the checker had not come to an end in its time
)

// judge looks at each key by itself: a history is linearizable if and only if those of all its objects are.
func judge(ops []operation, limit time.Duration) verdict {
	began := time.Now()
	v := verdict{Verdict: linearizable}
	count(&v, ops)
	byKey := histories(ops)
	v.Keys = len(byKey)

	var mu sync.Mutex
	var running sync.WaitGroup
	keys := make(chan string)
	for range runtime.NumCPU() {
		running.Go(func() {
			for key := range keys {
				m, _ := modelOf(key) // readHistory has refused others
				result := porcupine.CheckOperationsTimeout(m.porcupine(), byKey[key], limit)
				mu.Lock()
				switch result {
				case porcupine.Illegal:
					v.Broken = append(v.Broken, key)
				case porcupine.Unknown:
					v.Open = append(v.Open, key)
				}
				mu.Unlock()
			}
		})
	}
	for key := range byKey {
		keys <- key
	}
	close(keys)
	running.Wait()

	// The shortest first: it is the one to look at.
	slices.SortFunc(v.Broken, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(byKey[a]), len(byKey[b])), cmp.Compare(a, b))
	})
	slices.Sort(v.Open)
	if len(v.Broken) > 0 {
		v.Verdict = broken
	} else if len(v.Open) > 0 {
		v.Verdict = undecided
	}
	v.Seconds = time.Since(began).Round(time.Millisecond).Seconds()
	return v
}

func count(v *verdict, ops []operation) {
	servers := map[string]bool{}
	for _, o := range ops {
		switch {
		case o.Outcome == outcomeFail:
			v.Failed++
		case o.Outcome == outcomeUnknown:
			v.Unknown++
		case o.Op == opRead:
			v.Reads++
		default:
			v.Writes++
		}
		if o.Outcome == outcomeOK {
			servers[o.Server] = true
		}
	}
	v.Servers = len(servers)
}

// draw writes porcupine's picture of one key, with the marks of the test above it.
func draw(ops []operation, key, path string, marks []porcupine.Annotation, limit time.Duration) error {
	m, err := modelOf(key)
	if err != nil {
		return err
	}
	history := histories(ops)[key]
	model := m.porcupine()
	_, info := porcupine.CheckOperationsVerbose(model, history, limit)
	info.AddAnnotations(during(marks, history))
	return porcupine.VisualizePath(model, info, path)
}

// during returns the marks that fall into the time of a history.
func during(marks []porcupine.Annotation, history []porcupine.Operation) []porcupine.Annotation {
	first := slices.MinFunc(history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	last := slices.MaxFunc(history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	return slices.DeleteFunc(slices.Clone(marks), func(a porcupine.Annotation) bool {
		return a.Start < first.Call || a.Start > last.Call
	})
}

// readMarks reads the harness's log of a cluster (test.log): what was done to it, and when.
func readMarks(path string) ([]porcupine.Annotation, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var marks []porcupine.Annotation
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var row struct {
			TS         time.Time
			Event, Msg string
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		marks = append(marks, porcupine.Annotation{Tag: "test", Start: row.TS.UnixNano(),
			End: row.TS.UnixNano(), Description: row.Event + ": " + row.Msg})
	}
	return marks, nil
}
