package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// model is what a row may do, and how it is asked in SQL. Each statement is a transaction of its own.
type model struct {
	name  string
	write string // its operation beside opRead
	step  func(state []int64, o operation) (bool, []int64)
	first []int64 // state of a new row
	// SQL. table: creates rows 0 to %d; set: %d is the value, then the row; get: %d is the row.
	table, set, get string
}

// A register starts at 0. The read assigns the value to itself: an UPDATE takes the lock of the row,
// reads its newest version and leaves a commit record, so that only a server that may commit can answer.
var register = &model{
	name:  "register",
	write: opWrite,
	first: []int64{0},
	step: func(state []int64, o operation) (bool, []int64) {
		if o.Op == opWrite {
			return true, []int64{o.Value}
		}
		return slices.Equal(o.Result, state), state
	},
	table: "CREATE TABLE judge_register (k int PRIMARY KEY, v bigint NOT NULL);" +
		"INSERT INTO judge_register SELECT g, 0 FROM generate_series(0, %d) g",
	set: "UPDATE judge_register SET v = %d WHERE k = %d",
	get: "UPDATE judge_register SET v = v WHERE k = %d RETURNING ARRAY[v]",
}

// A list starts empty. A read tells the whole past of its row, in order: it finds what a register forgets
// with the next write.
var list = &model{
	name:  "list",
	write: opAppend,
	step: func(state []int64, o operation) (bool, []int64) {
		if o.Op == opAppend {
			return true, append(slices.Clip(state), o.Value)
		}
		return slices.Equal(o.Result, state), state
	},
	table: "CREATE TABLE judge_list (k int PRIMARY KEY, v bigint[] NOT NULL);" +
		"INSERT INTO judge_list SELECT g, '{}' FROM generate_series(0, %d) g",
	set: "UPDATE judge_list SET v = v || %d::bigint WHERE k = %d",
	get: "UPDATE judge_list SET v = v WHERE k = %d RETURNING v",
}

var models = []*model{register, list}

func modelOf(key string) (*model, error) {
	name, _, _ := strings.Cut(key, "/")
	for _, m := range models {
		if m.name == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("no model for key %q", key)
}

// porcupine returns the model as its checker wants it.
func (m *model) porcupine() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return m.first },
		Step: func(state, input, _ any) (bool, any) {
			o := input.(operation)
			if o.Missing { // it was there before the history began
				return false, state
			}
			return m.step(state.([]int64), o)
		},
		Equal: func(a, b any) bool { return slices.Equal(a.([]int64), b.([]int64)) },
		Hash: func(state any) uint64 {
			h := uint64(14695981039346656037)
			for _, v := range state.([]int64) {
				h = (h ^ uint64(v)) * 1099511628211
			}
			return h
		},
		DescribeOperation: func(input, _ any) string { return input.(operation).String() },
		DescribeState:     func(state any) string { return fmt.Sprint(state.([]int64)) },
	}
}

func (o operation) String() string {
	what := "read " + fmt.Sprint(o.Result)
	if o.Op != opRead {
		what = fmt.Sprintf("%s %d", o.Op, o.Value)
	}
	if o.Missing {
		what = o.Op + ": no such row"
	}
	if o.Outcome == outcomeUnknown {
		what += " ?"
	}
	return what + " @ " + o.Server
}

// histories returns what there is to judge, by key. What failed did not happen; a later read that shows it
// all the same finds no explanation. An unknown outcome never returns: it is concurrent with everything
// after. An unknown read says nothing and is left out.
func histories(ops []operation) map[string][]porcupine.Operation {
	byKey := map[string][]porcupine.Operation{}
	for _, o := range ops {
		end := o.Return
		switch {
		case o.Outcome == outcomeFail, o.Outcome == outcomeUnknown && o.Op == opRead:
			continue
		case o.Outcome == outcomeUnknown:
			end = math.MaxInt64
		}
		byKey[o.Key] = append(byKey[o.Key], porcupine.Operation{
			ClientId: o.Client, Input: o, Call: o.Call, Return: end})
	}
	return byKey
}
