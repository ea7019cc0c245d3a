package embedded

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"kvexpress/internal/kv"
)

// input is a request of a client for one path; output is its answer.
type (
	input struct {
		verb  kv.Verb
		path  string
		value string
		index uint64
	}
	output struct {
		ok    bool
		value string
		index uint64 // of the row that was read; 0: there is none
	}
	// row is the state of one path.
	row struct {
		value string
		index uint64 // 0: no row, or a row that was not read since it was written
		gone  bool
	}
)

const read kv.Verb = ""

// oneRow is the model of one path.
func oneRow() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byPath := map[string][]porcupine.Operation{}
			for _, op := range history {
				if in, ok := op.Input.(input); ok {
					byPath[in.path] = append(byPath[in.path], op)
				}
			}
			var parts [][]porcupine.Operation
			for _, part := range byPath {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return row{gone: true} },
		Step: func(state, in, out any) (bool, any) {
			now, _ := state.(row)
			asked, _ := in.(input)
			told, _ := out.(output)
			return step(now, asked, told)
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
	}
}

func step(now row, asked input, told output) (bool, row) {
	switch asked.verb {
	case read:
		if now.gone {
			return told.index == 0, now
		}
		if told.index == 0 || told.value != now.value || now.index != 0 && told.index != now.index {
			return false, now
		}
		now.index = told.index
		return true, now
	case kv.Set:
		if !now.gone && now.value == asked.value {
			return told.ok, now // no change: the index stays
		}
		return told.ok, row{value: asked.value}
	case kv.Delete:
		return told.ok, row{gone: true}
	default: // CheckAndSet
		matches := now.gone && asked.index == 0 || !now.gone && asked.index != 0 && now.index == asked.index
		if told.ok != matches || !matches {
			return told.ok == matches, now
		}
		return true, row{value: asked.value}
	}
}

// Concurrent reads and writes are linearizable.
func TestLinearizable(t *testing.T) {
	const clients, each = 8, 200
	e := open(t, &journal{})
	begun := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			seen := map[string]uint64{}
			for n := range each {
				in := input{path: fmt.Sprint("p", rand.IntN(3)), value: fmt.Sprint(client, "-", n)}
				in.verb = []kv.Verb{read, read, kv.Set, kv.CheckAndSet, kv.CheckAndSet, kv.Delete}[rand.IntN(6)]
				in.index = seen[in.path]
				call := time.Since(begun).Nanoseconds()
				out, err := ask(t, e, in)
				back := time.Since(begun).Nanoseconds()
				if err != nil {
					t.Error(err)
					return
				}
				if in.verb == read {
					seen[in.path] = out.index
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: back})
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if result := porcupine.CheckOperationsTimeout(oneRow(), history, time.Minute); result != porcupine.Ok {
		t.Errorf("the history of %d operations is %s", len(history), result)
	}

	// The control: an answer that cannot be is found.
	for i, op := range history {
		if out, ok := op.Output.(output); ok && out.value != "" {
			out.value += "!"
			history[i].Output = out
			break
		}
	}
	if result := porcupine.CheckOperationsTimeout(oneRow(), history, time.Minute); result == porcupine.Ok {
		t.Error("a value that was never written was not noticed")
	}
}

func ask(t *testing.T, e *Engine, in input) (output, error) {
	if in.verb != read {
		_, failed, err := e.Txn(t.Context(), []kv.Op{{Verb: in.verb, Path: in.path, Value: []byte(in.value), Index: in.index}})
		return output{ok: failed == nil}, err
	}
	got := e.View().Get(in.path)
	if got == nil {
		return output{}, nil
	}
	return output{value: string(got.Value), index: got.ModifyIndex}, nil
}
