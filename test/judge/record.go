package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	workers      = 6 // per server: with one transaction on its way each
	pace         = 20 * time.Millisecond
	recheck      = 50 * time.Millisecond // between two questions to a standby whether it still is one
	reconnect    = 200 * time.Millisecond
	answerWithin = 3 * time.Second
	rows         = 2000             // of each table
	slots        = 4                // keys of each model in use at a time
	keyOps       = 250              // then another key takes the slot: the checker's time grows faster than
	keyUnknown   = 5                // a key's history, and much faster than the number of its open ends
	lastLook     = 60 * time.Second // for the reads at the end
)

// recorder is a set of clients that read and write rows on every server that claims to be a primary.
type recorder struct {
	h       *history
	targets []string
	values  atomic.Int64
	clients atomic.Int64

	mu   sync.Mutex
	used []*keyUse // all keys, in order of their first use
	open map[*model][]*keyUse
	next map[*model]int
}

type keyUse struct {
	key          string
	ops, unknown int
}

// setUp makes the tables, on the one server that claims to be a primary.
func (r *recorder) setUp() error {
	for _, target := range r.targets {
		s, err := connect(target, lastLook)
		if err != nil {
			continue
		}
		defer s.close()
		if primary, err := s.claims(); err != nil || !primary {
			continue
		}
		for _, m := range models {
			if _, _, err := s.query(fmt.Sprintf(m.table, rows-1)); err != nil {
				return fmt.Errorf("%s: %w", target, err)
			}
		}
		if s.warned {
			return fmt.Errorf("%s: the tables may not be on a second server", target)
		}
		return nil
	}
	return fmt.Errorf("none of %s is a primary", strings.Join(r.targets, ", "))
}

// newKey gives a slot a row that was not used before; where there is none left, the last goes on.
func (r *recorder) newKey(m *model, slot int) {
	if r.next[m] == rows {
		return
	}
	k := &keyUse{key: fmt.Sprintf("%s/%d", m.name, r.next[m])}
	r.next[m]++
	r.used = append(r.used, k)
	r.open[m][slot] = k
}

// draw chooses what a client does next. One operation of eight is a read of any key used so far, so that
// what was lost of an older one shows.
func (r *recorder) draw(o *operation) *keyUse {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.Op = opRead
	if rand.N(8) == 0 {
		k := r.used[rand.N(len(r.used))]
		o.Key = k.key
		return k
	}
	m := models[rand.N(len(models))]
	slot := rand.N(slots)
	if k := r.open[m][slot]; k.ops >= keyOps || k.unknown >= keyUnknown {
		r.newKey(m, slot)
	}
	k := r.open[m][slot]
	o.Key = k.key
	if rand.N(2) == 0 {
		o.Op, o.Value = m.write, r.values.Add(1)
	}
	return k
}

func (r *recorder) note(k *keyUse, o operation) {
	r.h.line(o)
	r.mu.Lock()
	defer r.mu.Unlock()
	k.ops++
	if o.Outcome == outcomeUnknown && o.Op != opRead {
		k.unknown++
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// work is one client of one server, until ctx ends.
func (r *recorder) work(ctx context.Context, target string) {
	client := int(r.clients.Add(1)) - 1
	for ctx.Err() == nil {
		s, err := connect(target, answerWithin)
		if err != nil {
			pause(ctx, reconnect)
			continue
		}
		for ctx.Err() == nil {
			primary, err := s.claims()
			if err != nil {
				break
			}
			if !primary {
				pause(ctx, recheck)
				continue
			}
			var ok bool
			if client, ok = r.transact(ctx, s, client); !ok {
				break
			}
		}
		s.close()
		pause(ctx, reconnect)
	}
}

// transact goes on as long as the server executes what it is asked. It returns the client that goes on, and
// whether the session is still of use.
func (r *recorder) transact(ctx context.Context, s *session, client int) (int, bool) {
	for ctx.Err() == nil {
		o := operation{Client: client}
		k := r.draw(&o)
		usable := s.perform(r.h, &o)
		r.note(k, o)
		if o.Outcome == outcomeUnknown {
			client = int(r.clients.Add(1)) - 1
		}
		pause(ctx, pace/2+rand.N(pace))
		if !usable || o.Outcome == outcomeFail {
			return client, usable
		}
	}
	return client, true
}

// lastReads reads every key once more: nothing that was lost goes unseen.
func (r *recorder) lastReads() error {
	ctx, cancel := context.WithTimeout(context.Background(), lastLook)
	defer cancel()
	client := int(r.clients.Add(1)) - 1
	left := r.used
	for ctx.Err() == nil {
		for _, target := range r.targets {
			s, err := connect(target, answerWithin)
			if err != nil {
				continue
			}
			for primary, err := s.claims(); err == nil && primary && len(left) > 0 && ctx.Err() == nil; {
				o := operation{Client: client, Key: left[0].key, Op: opRead}
				s.perform(r.h, &o)
				r.h.line(o)
				if o.Outcome != outcomeOK {
					client = int(r.clients.Add(1)) - 1
					break
				}
				left = left[1:]
			}
			s.close()
			if len(left) == 0 {
				return nil
			}
		}
		pause(ctx, reconnect)
	}
	return fmt.Errorf("%d of %d keys could not be read at the end", len(left), len(r.used))
}

// record writes a history to path until ctx ends.
func record(ctx context.Context, path string, targets []string) error {
	h, err := createHistory(path)
	if err != nil {
		return err
	}
	r := &recorder{h: h, targets: targets, open: map[*model][]*keyUse{}, next: map[*model]int{}}
	if err := r.setUp(); err != nil {
		return err
	}
	for _, m := range models {
		r.open[m] = make([]*keyUse, slots)
		for slot := range slots {
			r.newKey(m, slot)
		}
	}
	var running sync.WaitGroup
	for _, target := range targets {
		for range workers {
			running.Go(func() { r.work(ctx, target) })
		}
	}
	<-ctx.Done()
	running.Wait()
	if err := r.lastReads(); err != nil {
		return err
	}
	return h.close()
}
