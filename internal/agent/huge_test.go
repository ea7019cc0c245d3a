package agent_test

import (
	"bytes"
	"fmt"
	"testing"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// Huge rows where checksums should be fill an answer to the poller. The others are read all the same. Taken out: that such a read
// is made in parts; then all targets that are polled count as away.
func TestHugeRowsAmongPolledOnes(t *testing.T) {
	t.Parallel()
	const first, targets = 60, 80
	var all []install.Target
	for i := range targets {
		all = append(all, install.Target{Key: kv.Key(fmt.Sprint("k", i))})
	}
	n := newNode(t, storeAddr(t), all...)
	for i := first; i < targets-1; i++ {
		path := n.layout.Checksum(all[i].Key)
		if err := n.store.Put(t.Context(), path, bytes.Repeat([]byte("x"), kv.MaxValue), 0); err != nil {
			t.Fatal(err)
		}
	}
	n.start()
	for i := range first {
		n.state(i, outcome.Missing)
	}
	n.publish(all[targets-1].Key, "one\n")
	n.current(targets-1, "one\n")
	n.publish(all[targets-1].Key, "two\n")
	n.current(targets-1, "two\n")
	for i, target := range n.agent.Status().Targets {
		if target.Outcome == outcome.Unreachable {
			t.Errorf("target %d is %s: %s", i, target.Outcome, target.Detail)
		}
	}
}
