package consul

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLongest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l longest
		cut := func(after time.Duration) {
			wait, trial := l.next(time.Minute)
			began := time.Now()
			<-time.After(min(after, wait))
			if after < wait {
				l.cut(began, after, trial)
			}
		}
		wants := func(what string, want time.Duration) {
			t.Helper()
			if got, _ := l.next(time.Minute); got != want {
				t.Errorf("%s: waits %v, want %v", what, got, want)
			}
		}
		// A store that is restarted ends many at one moment, and some have lasted as long as others.
		began := time.Now()
		<-time.After(10 * time.Second)
		for range 60 {
			l.cut(began, 10*time.Second, false)
		}
		wants("after one moment", time.Minute)
		cut(30 * time.Second)
		wants("after two of different lengths", time.Minute)
		cut(30 * time.Second)
		wants("after two of one length", 27*time.Second)
		cut(20 * time.Second)
		cut(20 * time.Second)
		wants("after shorter ones", 18*time.Second)
		// One of many tries a longer one, once in an hour.
		<-time.After(longerEvery)
		if wait, trial := l.next(time.Minute); wait != time.Minute || !trial {
			t.Errorf("after an hour: %v, %v", wait, trial)
		}
		wants("beside a trial", 18*time.Second)
		l.cut(time.Now(), 20*time.Second, true)
		wants("after a trial that was cut off", 18*time.Second)
		l.lasted()
		wants("after one that was not", time.Minute)
	})
}
