package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Limits of ListKeys.
const (
	// maxFolders limits the folders that are listed. The top-level folders take turns, so that a publisher that writes many folders
	// below its own key hides no other key.
	maxFolders = 20_000
	// atOnce is the number of parallel requests.
	atOnce = 8
)

// Keys are the keys that have rows in the store.
type Keys struct {
	Rows map[Key][]string // "checksum", "stop" and so on; empty for a folder that is too large
	// Left are the folders that were too large or too many to list. Their keys may be missing. They are not safe to print.
	Left []string
}

// Sorted returns the keys that have one of these rows, and the folders that are too large, in order.
func (k Keys) Sorted(rows ...string) []Key {
	var keys []Key
	for key, has := range k.Rows {
		if len(has) == 0 || slices.ContainsFunc(rows, func(row string) bool { return slices.Contains(has, row) }) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// ListKeys finds all keys, level by level, without history and locks. As in Store.Keys, keys that the caller may not read are
// left out.
func ListKeys(ctx context.Context, s Store, l Layout) (Keys, error) {
	w := walk{layout: l, found: Keys{Rows: map[Key][]string{}}, waiting: map[string][]string{}}
	top := l.Prefix() + "/"
	paths, err := s.Level(ctx, top)
	if errors.Is(err, ErrTooLarge) {
		return Keys{}, fmt.Errorf("%w: the names below %s have more than %d MiB; use another --prefix", ErrRequest,
			top, MaxNames>>20)
	} else if err != nil {
		return Keys{}, err
	}
	w.take(paths)
	for left := maxFolders; ; {
		round := w.round(left)
		if len(round) == 0 {
			break
		}
		left -= len(round)
		answers, errs := make([][]string, len(round)), make([]error, len(round))
		var next sync.WaitGroup
		for part := range min(atOnce, len(round)) {
			next.Go(func() {
				for i := part; i < len(round); i += atOnce {
					answers[i], errs[i] = s.Level(ctx, round[i])
				}
			})
		}
		next.Wait()
		for i, folder := range round {
			switch {
			case errors.Is(errs[i], ErrTooLarge):
				w.tooLarge(folder)
			case errs[i] != nil:
				return Keys{}, errs[i]
			default:
				w.take(answers[i])
			}
		}
	}
	for _, folders := range w.waiting {
		w.found.Left = append(w.found.Left, folders...)
	}
	slices.Sort(w.found.Left)
	return w.found, nil
}

// walk is the state of a listing.
type walk struct {
	layout  Layout
	found   Keys
	waiting map[string][]string // folders to list, by their top-level folder
}

// take sorts the paths of one answer into rows and folders.
func (w *walk) take(paths []string) {
	for _, path := range paths {
		folder, deeper := strings.CutSuffix(path, "/")
		if k, row, ok := w.layout.KeyOf(path); ok {
			w.found.Rows[k] = append(w.found.Rows[k], row)
		} else if deeper && w.mayHold(folder) {
			top, _, _ := strings.Cut(folder[len(w.layout.Prefix())+1:], "/")
			w.waiting[top] = append(w.waiting[top], path)
		}
	}
}

// mayHold reports whether a folder can contain keys or their rows.
func (w *walk) mayHold(folder string) bool {
	k, err := ParseKey(folder[len(w.layout.Prefix())+1:])
	return err == nil && w.layout.Prefix()+"/"+string(k) == folder
}

// round takes the next folders of each top-level folder, at most room.
func (w *walk) round(room int) []string {
	var round []string
	for top, folders := range w.waiting {
		n := min(len(folders), atOnce, room-len(round))
		round = append(round, folders[:n]...)
		if w.waiting[top] = folders[n:]; n == len(folders) {
			delete(w.waiting, top)
		}
	}
	return round
}

// tooLarge records a folder that cannot be listed. It may be the folder of a key.
func (w *walk) tooLarge(folder string) {
	w.found.Left = append(w.found.Left, folder)
	w.found.Rows[Key(strings.Trim(folder[len(w.layout.Prefix()):], "/"))] = nil
}
