package fleet

import "kvexpress/internal/safetext"

// MaxOutput is how many bytes of the output of a failed command a hub gets.
const MaxOutput = 1 << 10

// Output is the end of the output of the check or exec that failed last for a target. It may hold secrets: hubs show it to
// callers that may read the key. It is no part of a Receipt, because receipts go to the store.
type Output struct {
	Key  string `json:"key"`
	File string `json:"file"`
	Text string `json:"text"` // lines, printable, at most MaxOutput bytes
}

// NewOutput keeps whole lines from the end of a text.
func NewOutput(key, file, text string) Output {
	const mark = "…\n"
	if text = safetext.Lines(text); len(text) > MaxOutput {
		text = mark + safetext.End(text, MaxOutput-len(mark))
	}
	return Output{Key: key, File: file, Text: text}
}

// output is the output of a target's command; "" if there is none.
func (n Node) output(t Target) string {
	for _, o := range n.Outputs {
		if o.Key == t.Key && o.File == t.File && t.By == ByAgent {
			return o.Text
		}
	}
	return ""
}
