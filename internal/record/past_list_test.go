package record_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/embedded"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

func contains(text, words string) bool { return strings.Contains(text, words) }

func TestList(t *testing.T) {
	b := newBench(t)
	b.many(12)
	l := b.tells("12 live", "11", "10", "9", "8", "7", "6", "5", "4", "3")
	v := l.Versions[1]
	if v.Size != int64(len(content(11))) || v.Lines != 1 || v.SHA256 != record.Checksum([]byte(content(11))) ||
		v.Manifest.Message != "why content 11" || v.Why != "" {
		t.Errorf("version 11 is %+v", v)
	}
	if l.State != record.Managed || l.Last != 12 || l.SHA256 != record.Checksum([]byte(content(12))) || l.Stopped != nil ||
		l.Skipped != 0 {
		t.Errorf("the list is %+v", l)
	}
	for n := uint64(3); n <= 12; n++ {
		b.reads(n, content(n))
	}
	refuses[*record.NotKept](b, 2, "11, 12")
	refuses[*record.NotKept](b, 13, "version 13")

	b.put(b.l.Stop(hosts), "why", 0)
	if l := b.list(); l.Stopped == nil || l.Stopped.Reason != "why" {
		t.Errorf("the stop is %v", l.Stopped)
	}
}

// A list is a snapshot: one request reads all of it.
func TestListIsOneRead(t *testing.T) {
	b := newBench(t)
	b.many(12)
	s := &between{Store: b.store}
	if _, err := b.on(s).List(t.Context(), hosts); err != nil {
		t.Fatal(err)
	}
	if len(s.reads) != 1 || len(s.reads[0]) > kv.MaxOps {
		t.Errorf("%d reads, the first of %d paths", len(s.reads), len(s.reads[0]))
	}
	s.reads = nil
	if _, err := b.on(s).Read(t.Context(), hosts, 5, 7, 0); err != nil {
		t.Fatal(err)
	}
	if len(s.reads) != 1 {
		t.Errorf("%d reads for three versions", len(s.reads))
	}
}

// A publish that was killed before its promote was never live.
func TestOrphansAreLeftOut(t *testing.T) {
	b := newBench(t)
	b.many(3)
	b.orphan(4)
	b.orphan(5)
	b.tells("3 live", "2", "1")
	refuses[*record.NotKept](b, 4, "1, 2, 3")
	b.put(b.l.HistoryData(hosts, 4), "junk", 2)
	b.tells("3 live", "2", "1")
	refuses[*record.NotKept](b, 4, "version 4")

	// The same under kvexpress 1.x.
	b.write1x("theirs\n")
	b.tells("unmanaged live", "3", "2", "1")
	refuses[*record.NotKept](b, 4, "version 4")
}

func (b *bench) write1x(text string) {
	b.t.Helper()
	b.put(b.l.Data(hosts), text, 0)
	b.put(b.l.Checksum(hosts), record.Checksum([]byte(text)), 0)
}

func TestUnmanaged(t *testing.T) {
	b := newBench(t)
	b.write1x("theirs\n")
	l := b.tells("unmanaged live")
	if v := l.Versions[0]; v.SHA256 != record.Checksum([]byte("theirs\n")) || v.Lines != 1 || v.Size != 7 || l.Last != 0 {
		t.Errorf("it is %+v", v)
	}
	b.reads(0, "theirs\n")
	refuses[*record.NotKept](b, 1, "version 1")

	b.publish("ours\n", "ours 2\n")
	b.write1x("theirs\n")
	l = b.tells("unmanaged live", "3", "2", "1")
	if l.Last != 3 || !contains(l.Versions[0].Why, "version 3") {
		t.Errorf("the list is %+v", l)
	}
	b.reads(3, "ours 2\n")
	if c := b.reads(0, "theirs\n"); c.State != record.Unmanaged || c.Number != 0 {
		t.Errorf("the live version is %+v", c.Version)
	}
	b.remove(b.l.Manifest(hosts))
	b.tells("unmanaged live", "3", "2", "1")
	b.reads(2, "ours\n")
	b.reads(1, "theirs\n")
}

func TestMissing(t *testing.T) {
	b := newBench(t)
	var missing *gate.Missing
	if _, err := b.reader().List(t.Context(), hosts); !errors.As(err, &missing) {
		t.Errorf("list: %v", err)
	}
	refuses[*gate.Missing](b, 0, "hosts")
	refuses[*gate.Missing](b, 3, "hosts")

	// A deleted key has a
	b.many(3)
	b.removeLive()
	l := b.tells("3", "2", "1")
	if l.State != record.Absent {
		t.Errorf("state %s", l.State)
	}
	b.reads(2, content(2))
	refuses[*record.NotKept](b, 0, "1, 2, 3")
}

// A row that did not come back is not an absent one, whichever it is: the error
// names the policy that helps.
func TestDeniedIsNotAbsent(t *testing.T) {
	l, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	rows := []string{
		l.Data(hosts), l.Checksum(hosts), l.Manifest(hosts), l.Stop(hosts),
		l.HistoryManifest(hosts, 2), l.HistoryData(hosts, 2), l.HistoryDir(hosts), l.Dir(hosts),
	}
	for _, row := range rows {
		for _, gone := range []bool{false, true} {
			on := false
			b := newBench(t, embedded.Deny(func(path string, _ bool) bool { return on && strings.HasPrefix(path, row) }))
			b.many(3)
			if gone {
				b.remove(b.l.Data(hosts), b.l.HistoryData(hosts, 2), b.l.HistoryManifest(hosts, 2))
			}
			on = true
			hidden := gone && (row == l.HistoryManifest(hosts, 2) || row == l.HistoryData(hosts, 2))
			_, err := b.reader().List(t.Context(), hosts)
			if !hidden && !errors.Is(err, kv.ErrDenied) { // a version that is not listed is not read
				t.Errorf("%s denied, list: %v", row, err)
			}
			_, err = b.reader().Read(t.Context(), hosts, 2)
			if !errors.Is(err, kv.ErrDenied) {
				t.Errorf("%s denied, read: %v", row, err)
			}
		}
	}
}

// If publishers are faster than the list, nothing is shown as damaged, and there is no
// gap.
func TestPublishersBesideAList(t *testing.T) {
	for _, n := range []int{1, 4, 5, 6, 15, 40} {
		b := newBench(t)
		b.many(12)
		done := false
		s := &between{Store: b.store}
		s.afterKeys = func() {
			for i := range n {
				if !done {
					b.publish(fmt.Sprintf("in between %d\n", i))
				}
			}
			done = true
		}
		l, err := b.on(s).List(t.Context(), hosts)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range uint64(10) {
			want = append(want, fmt.Sprint(12+uint64(n)-i))
		}
		want[0] += " live"
		if got := told(l); !slices.Equal(got, want) {
			t.Errorf("after %d publishes in between, listed are %q, want %q", n, got, want)
		}
	}
}

// History that was pruned by hand does not count as an outdated list.
func TestPrunedByHand(t *testing.T) {
	b := newBench(t)
	b.many(40)
	for n := uint64(33); n <= 40; n++ {
		b.remove(b.l.HistoryManifest(hosts, n), b.l.HistoryData(hosts, n))
	}
	l := b.tells("40 live", "32", "31")
	if v, err := l.Before(true); err != nil || v.Number != 32 {
		t.Errorf("before it is %d, %v", v.Number, err)
	}
	b.remove(b.l.HistoryManifest(hosts, 32), b.l.HistoryData(hosts, 32), b.l.HistoryManifest(hosts, 31), b.l.HistoryData(hosts, 31))
	l = b.tells("40 live")
	if _, err := l.Before(true); !as[*record.NotKept](err) {
		t.Errorf("before it: %v", err)
	}
	b.reads(40, content(40))
}

// If publishers are always faster, the list still ends, and says so.
func TestPublishersAlwaysBesideAList(t *testing.T) {
	b := newBench(t)
	b.many(12)
	s := &between{Store: b.store}
	s.afterKeys = func() { b.publish(fmt.Sprintf("in between %d\n", len(s.reads))) }
	if l, err := b.on(s).List(t.Context(), hosts); !errors.Is(err, kv.ErrConflict) {
		t.Errorf("%+v, %v", l, err)
	}
}

// A version that is pruned between list and read is no longer kept.
func TestPrunedBesideARead(t *testing.T) {
	b := newBench(t)
	b.many(10)
	l := b.list()
	oldest := l.Versions[len(l.Versions)-1].Number
	b.publish("one more\n")
	kept := refuses[*record.NotKept](b, oldest, "10, 11")
	if !slices.Equal(kept.Kept, []uint64{11, 10, 9, 8, 7, 6, 5, 4, 3, 2}) {
		t.Errorf("kept are %v", kept.Kept)
	}
}

// Far too many entries do not grow without limit, and do not hide the live version.
func TestCrowdedHistory(t *testing.T) {
	b := newBench(t)
	b.many(12)
	for i := range uint64(300) {
		b.put(b.l.HistoryData(hosts, 1000+i), "junk", 0)
	}
	b.put(b.l.HistoryDir(hosts)+"007/manifest", "junk", 0)
	b.put(b.l.HistoryDir(hosts)+"x/y", "junk", 0)
	b.put(b.l.HistoryDir(hosts)+"18446744073709551615/data", "junk", 0)
	s := &between{Store: b.store}
	l, err := b.on(s).List(t.Context(), hosts)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Kept(); !slices.Equal(got, []uint64{12}) {
		t.Errorf("kept are %v", got)
	}
	if l.Skipped != 300+10-64 {
		t.Errorf("%d are skipped", l.Skipped)
	}
	if _, err := l.Before(false); err == nil || !strings.Contains(err.Error(), "name a version") {
		t.Errorf("the version before is found: %v", err)
	}
	b.reads(11, content(11))
	for _, paths := range s.reads {
		if len(paths) > kv.MaxOps {
			t.Errorf("a read has %d paths", len(paths))
		}
	}
}
