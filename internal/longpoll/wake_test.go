package longpoll

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// A change may be told just after somebody has begun to wait who knows it already: it wakes for nothing, and who was
// woken begins to wait once more. The next change finds him waiting.
func TestWokenForNothing(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	const times = 3
	began := 0
	q := Query{
		Until: time.Now().Add(time.Hour),
		Subscribe: func(wake func()) func() {
			began++
			wake()
			return func() {}
		},
		Answer: func(bool) Answer {
			if began < times {
				return nil
			}
			return func(http.ResponseWriter) {}
		},
	}
	late := time.AfterFunc(30*time.Second, func() { _ = here.Close() })
	defer late.Stop()
	if answer, _, err := await(here, nil, q); err != nil || answer == nil || began != times {
		t.Errorf("it began to wait %d times, and ended with %v; want %d times, and an answer", began, err, times)
	}
}
