package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Limits of one listing of all keys.
const (
	// maxFolders is how many folders are listed. Those of one name at the top take turns with
	// all others: what a publisher writes below its own key hides no other key.
	maxFolders = 20_000
	// atOnce is how many requests are on their way at a time.
	atOnce = 8
)

// Keys are the keys that a store has rows of.
type Keys struct {
	Rows map[Key][]string // "checksum", "stop" and so on; none of a key whose rows are too many
	// Left are the folders that were not listed, or not whole, as there is too much in them, and
	// whose keys may be missing here: not safe to print.
	Left []string
}

// Sorted are the keys with one of these rows, or whose rows are too many, in order.
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

// ListKeys finds all keys, one level of folders after the other, without history and locks.
// Keys that the caller may not read are left out silently, as in Store.Keys.
func ListKeys(ctx context.Context, s Store, l Layout) (Keys, error) {
	w := walk{layout: l, found: Keys{Rows: map[Key][]string{}}, waiting: map[string][]string{}}
	top := l.Prefix() + "/"
	paths, err := s.Level(ctx, top)
	if errors.Is(err, ErrTooLarge) {
		return Keys{}, fmt.Errorf("%w: there are more than %d MiB of names below %s; another --prefix has room", ErrRequest,
			MaxNames>>20, top)
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

// walk is a listing on its way.
type walk struct {
	layout  Layout
	found   Keys
	waiting map[string][]string // folders that are not listed yet, by their names at the top
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

// mayHold reports whether keys can be in a folder, or their rows.
func (w *walk) mayHold(folder string) bool {
	k, err := ParseKey(folder[len(w.layout.Prefix())+1:])
	return err == nil && w.layout.Prefix()+"/"+string(k) == folder
}

// round takes the next folders of each name at the top, as many as there is room for.
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

// tooLarge notes a folder that cannot be listed. It may be a key's folder.
func (w *walk) tooLarge(folder string) {
	w.found.Left = append(w.found.Left, folder)
	w.found.Rows[Key(strings.Trim(folder[len(w.layout.Prefix()):], "/"))] = nil
}
