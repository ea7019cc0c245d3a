package fleet

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

func TestPercentiles(t *testing.T) {
	if got := percentiles(nil); got != (Percentiles{}) {
		t.Errorf("%+v", got)
	}
	for n := 1; n < 1200; n += 1 + n/20 {
		all := make([]Delivery, n)
		for i, v := range rand.Perm(n) {
			all[i] = Delivery{fmt.Sprint(v + 1), time.Duration(v + 1)}
		}
		up := func(p int) Millis { return Millis((n*p + 99) / 100) } // the nearest rank
		if got, want := percentiles(all),
			(Percentiles{n, up(50), up(90), up(99), Millis(n), fmt.Sprint(n)}); !reflect.DeepEqual(got, want) {
			t.Fatalf("of %d: %+v, want %+v", n, got, want)
		}
	}
}
