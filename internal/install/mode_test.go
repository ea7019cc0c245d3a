package install

import (
	"io/fs"
	"testing"
)

func TestParseMode(t *testing.T) {
	for _, test := range []struct {
		text    string
		want    fs.FileMode
		decimal bool
	}{
		{text: "0644", want: 0o644},
		{text: "00644", want: 0o644},
		{text: "644", want: 0o644},
		{text: "0o644", want: 0o644},
		{text: "640", want: 0o640},
		{text: "0", want: 0},
		{text: "400", want: 0o400},
		{text: "440", want: 0o440},
		{text: "600", want: 0o600},
		{text: "755", want: 0o755},
		{text: "777", want: 0o777},
		{text: "1777", want: 0o777 | fs.ModeSticky},
		{text: "02755", want: 0o755 | fs.ModeSetgid},
		{text: "4755", want: 0o755 | fs.ModeSetuid},

		// Numbers that 1.x's callers have from its help, in decimal.
		{text: "384", want: 0o600, decimal: true},
		{text: "416", want: 0o640, decimal: true},
		{text: "420", want: 0o644, decimal: true},
		{text: "436", want: 0o664, decimal: true},
		{text: "493", want: 0o755, decimal: true},
		{text: "288", want: 0o440, decimal: true},
		{text: "256", want: 0o400, decimal: true},

		// This one may well be meant in octal.
		{text: "511", want: 0o511},

		// With a zero before it, it is octal on purpose.
		{text: "0416", want: 0o416},
		{text: "0420", want: 0o420},
	} {
		got, decimal, err := ParseMode(test.text)
		if err != nil || got != test.want || decimal != test.decimal {
			t.Errorf("%s is %v, decimal %t (%v), want %v, decimal %t", test.text, got, decimal, err, test.want, test.decimal)
		}
	}
	for _, text := range []string{"", " ", "rw-r--r--", "u+w", "8", "999", "10000", "77777777777777777777", "-644", "+644",
		"0x1ff", "6 44", "0644 ", "٦٤٤"} {
		if got, _, err := ParseMode(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

// A mode that everybody means in octal is never read as a decimal number.
func TestNestedModesAreOctal(t *testing.T) {
	for octal := range uint64(0o1000) {
		if !nested(octal) || octal < 0o100 {
			continue
		}
		text := modeText(octal)
		if got, decimal, err := ParseMode(text); err != nil || decimal || uint64(got) != octal {
			t.Errorf("%s is %v, decimal %t: %v", text, got, decimal, err)
		}
	}
}

func modeText(octal uint64) string {
	return string([]byte{'0' + byte(octal>>6&7), '0' + byte(octal>>3&7), '0' + byte(octal&7)})
}
