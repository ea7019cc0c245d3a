package observe_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"kvexpress/internal/observe"
)

// parse reads text with Prometheus' own parser.
func parse(t *testing.T, text []byte) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("Prometheus cannot read it: %v\n%s", err, text)
	}
	return families
}

func write(t *testing.T, use func(*observe.PromWriter)) []byte {
	t.Helper()
	var out bytes.Buffer
	w := observe.NewProm(&out)
	use(w)
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestTheTextIsExact(t *testing.T) {
	got := write(t, func(w *observe.PromWriter) {
		w.Family("a_total", observe.Counter, "How often.\nA \\ and a \".")
		w.Sample(3)
		w.Family("nothing", observe.Gauge, "Has no sample.")
		w.Family("b_seconds", observe.Histogram, "How long.")
		w.Histogram([]float64{0.5, 1, 30}, []uint64{2, 0, 1, 4}, 12.25, observe.Label{Name: "key", Value: "hosts"})
		w.Histogram([]float64{1}, nil, 0) // none yet
		w.Family("c", observe.Gauge, "Numbers.")
		w.Sample(-1.5, observe.Label{Name: "x", Value: "a"}, observe.Label{Name: "y", Value: ""})
		w.Sample(1753123456.25, observe.Label{Name: "x", Value: `a"b\c` + "\nd"})
	})
	const want = `# HELP a_total How often.\nA \\ and a ".
# TYPE a_total counter
a_total 3
# HELP b_seconds How long.
# TYPE b_seconds histogram
b_seconds_bucket{key="hosts",le="0.5"} 2
b_seconds_bucket{key="hosts",le="1"} 2
b_seconds_bucket{key="hosts",le="30"} 3
b_seconds_bucket{key="hosts",le="+Inf"} 7
b_seconds_sum{key="hosts"} 12.25
b_seconds_count{key="hosts"} 7
b_seconds_bucket{le="1"} 0
b_seconds_bucket{le="+Inf"} 0
b_seconds_sum 0
b_seconds_count 0
# HELP c Numbers.
# TYPE c gauge
c{x="a",y=""} -1.5
c{x="a\"b\\c\nd"} 1753123456.25
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	parse(t, got)
}

// The parser reads the same value of a label.
func TestLabelsComeBack(t *testing.T) {
	for _, value := range []string{
		"", "plain", `"`, `\`, `\\`, `\n`, "\n", "a\nb", "\r\n", "\t", `ends with \`, `} 1`, "é€😀", "\u2028", "\x1b[31m", "\x00", "\ufffd", "a,b=\"c\"",
	} {
		text := write(t, func(w *observe.PromWriter) {
			w.Family("m", observe.Gauge, value)
			w.Sample(1, observe.Label{Name: "v", Value: value})
		})
		family := parse(t, text)["m"]
		if got := family.GetMetric()[0].GetLabel()[0].GetValue(); got != value {
			t.Errorf("%q came back as %q:\n%s", value, got, text)
		}
	}
	text := write(t, func(w *observe.PromWriter) {
		w.Family("m", observe.Gauge, "Broken UTF-8.")
		w.Sample(1, observe.Label{Name: "v", Value: "a\xff\xe2\x82b"})
	})
	if got := parse(t, text)["m"].GetMetric()[0].GetLabel()[0].GetValue(); got != `a\xff\xe2\x82b` {
		t.Errorf("broken UTF-8 came back as %q", got)
	}
}

func TestNumbersComeBack(t *testing.T) {
	for _, value := range []float64{
		0, math.Copysign(0, -1), 1, -1, 0.1, 1e-9, 1<<53 - 1, 1 << 53, 1 << 63, 1 << 64, -1 << 63, 1e300, math.MaxFloat64,
		math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN(),
	} {
		text := write(t, func(w *observe.PromWriter) {
			w.Family("m", observe.Gauge, "A number.")
			w.Sample(value)
		})
		got := parse(t, text)["m"].GetMetric()[0].GetGauge().GetValue()
		if got != value && !(math.IsNaN(got) && math.IsNaN(value)) {
			t.Errorf("%v came back as %v: %s", value, got, text)
		}
	}
}

// piecemeal records the largest write, and fails after a number of bytes.
type piecemeal struct {
	bytes.Buffer
	most, left int
}

var errFull = errors.New("full")

func (p *piecemeal) Write(b []byte) (int, error) {
	p.most = max(p.most, len(b))
	if p.left -= len(b); p.left < 0 {
		return 0, errFull
	}
	return p.Buffer.Write(b)
}

// The writer must not hold the whole text in memory, and it ends if the client has
// disconnected.
func TestItStreams(t *testing.T) {
	many := func(out *piecemeal) error {
		w := observe.NewProm(out)
		w.Family("m", observe.Gauge, "Many.")
		for range 10_000 {
			w.Sample(1, observe.Label{Name: "v", Value: strings.Repeat("x", 50)})
		}
		return w.End()
	}
	out := piecemeal{left: 10 << 20}
	if err := many(&out); err != nil || out.Len() < 500_000 {
		t.Fatalf("%d bytes, %v", out.Len(), err)
	}
	if out.most > 8<<10 {
		t.Errorf("%d bytes were held at once", out.most)
	}
	gone := piecemeal{left: 20_000}
	if err := many(&gone); !errors.Is(err, errFull) {
		t.Errorf("a failed write gives %v", err)
	}
	if gone.Len() > 20_000 {
		t.Errorf("it went on writing after an error: %d bytes", gone.Len())
	}
}
