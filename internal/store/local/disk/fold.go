package disk

import (
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"kvexpress/internal/store/local"
)

// fold is what some changes come to: of each name the last that was said of it, nil where
// it is gone.
type fold struct {
	marks
	rows   map[string]*local.Row
	graves map[string]*local.Grave
	ids    map[string]*local.Session
}

func newFold(since marks) fold {
	return fold{marks: since, rows: map[string]*local.Row{}, graves: map[string]*local.Grave{}, ids: map[string]*local.Session{}}
}

// add takes a batch in.
func (f *fold) add(number uint64, changes []local.Change) {
	f.number = number
	for i := range changes {
		c := &changes[i]
		for _, path := range c.Deleted {
			f.rows[path] = nil
		}
		for _, r := range c.Rows {
			f.rows[r.Path] = r
		}
		for _, g := range c.Graves {
			f.graves[g.Path] = &g
		}
		for _, path := range c.Reaped {
			f.graves[path] = nil
		}
		for _, s := range c.Sessions {
			f.ids[s.ID] = s
		}
		for _, id := range c.Ended {
			f.ids[id] = nil
		}
		f.note(c)
	}
}

// over makes the changes in what was read.
func (f *fold) over(s *local.Saved) {
	s.Rows = renew(s.Rows, f.rows, func(r *local.Row) string { return r.Path })
	s.Sessions = renew(s.Sessions, f.ids, func(s *local.Session) string { return s.ID })
	graves := map[string]*local.Grave{}
	for i := range s.Graves {
		graves[s.Graves[i].Path] = &s.Graves[i]
	}
	maps.Copy(graves, f.graves)
	var now []local.Grave
	for _, path := range slices.Sorted(maps.Keys(graves)) {
		if g := graves[path]; g != nil {
			now = append(now, *g)
		}
	}
	s.Graves = now
	s.Index, s.Tables, s.SessionIndex = f.index, f.tables, f.sessions
}

// renew puts what is new in the place of what has the same name.
func renew[T any](old []*T, news map[string]*T, name func(*T) string) []*T {
	now := slices.DeleteFunc(old, func(v *T) bool { _, is := news[name(v)]; return is })
	for _, key := range slices.Sorted(maps.Keys(news)) {
		if v := news[key]; v != nil {
			now = append(now, v)
		}
	}
	return now
}

// write makes the changes in a transaction, in the order of names, and counts.
func (f *fold) write(tx *bolt.Tx, t *tally) error {
	var e edit
	for i := range t.buckets {
		e.buckets[i], e.totals[i] = tx.Bucket([]byte(dataBuckets()[i])), &t.buckets[i]
	}
	each(&e, 0, f.rows, putRow)
	each(&e, 1, f.graves, func(g *local.Grave) []byte { return putGrave(*g) })
	each(&e, 2, f.ids, putSession)
	if e.err != nil {
		return e.err
	}
	t.marks = f.marks
	return tx.Bucket([]byte(aboutBucket)).Put([]byte(tallyKey), t.put())
}

func each[T any](e *edit, bucket int, news map[string]*T, put func(*T) []byte) {
	for _, name := range slices.Sorted(maps.Keys(news)) {
		if v := news[name]; v != nil {
			e.put(bucket, name, put(v))
		} else {
			e.remove(bucket, name)
		}
	}
}

// edit changes the buckets and what they come to, up to the first error.
type edit struct {
	buckets [3]*bolt.Bucket
	totals  [3]*total
	err     error
}

func (e *edit) put(i int, name string, record []byte) {
	if e.err != nil {
		return
	}
	key := keyOf(name)
	e.totals[i].remove(e.buckets[i].Get(key))
	e.totals[i].add(record)
	e.err = e.buckets[i].Put(key, record)
}

func (e *edit) remove(i int, name string) {
	if e.err != nil {
		return
	}
	key := keyOf(name)
	e.totals[i].remove(e.buckets[i].Get(key))
	e.err = e.buckets[i].Delete(key)
}
