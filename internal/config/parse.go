package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// parseWord accepts "", which templates write for "none". Its error does not quote the value, which may have a password.
func parseWord(s string) (string, error) {
	if strings.ContainsAny(s, " ,") {
		return "", errors.New("the value is not one word; remove spaces and commas")
	}
	return s, nil
}

// parsePath accepts "" too. Its error does not quote the value, which may be the token itself.
func parsePath(s string) (string, error) {
	switch {
	case s == "":
		return "", nil
	case !filepath.IsAbs(s):
		return "", errors.New("the value is not an absolute path; begin it with /")
	}
	return filepath.Clean(s), nil
}

func parseSwitch(s string) (bool, error) {
	on, err := strconv.ParseBool(s)
	if err != nil || len(s) == 1 {
		return false, fmt.Errorf("%.20q is not a switch; give true or false", s)
	}
	return on, nil
}

// parseNumber returns a parser of numbers from 0 to most.
func parseNumber(of string, most uint64) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil || n > most {
			return 0, fmt.Errorf("%.20q is not a number of %s; give 0 to %d", s, of, most)
		}
		return int(n), nil
	}
}

// parseDuration returns a parser of times from least to 24h.
func parseDuration(least time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := wait.ParseDuration(s)
		if err != nil || d < least || d > longest {
			return 0, fmt.Errorf("%.20q is not a time; give a number and a unit, such as 30s, 5m or 2h, from %s to 24h", s, least)
		}
		return d, nil
	}
}

// parseMode refuses decimal numbers such as 420 for 0644, which programs that write YAML make of modes.
func parseMode(s string) (*fs.FileMode, error) {
	mode, decimal, err := install.ParseMode(s)
	if decimal {
		return nil, fmt.Errorf("%s looks decimal, and modes are octal; write \"%04o\"", s, mode)
	}
	return &mode, err
}

// argv is the setter of a command: one line, which is split without a shell, or a list of words.
func argv(to *[]string, check func([]string) error) func(value) {
	return func(v value) {
		words, err := []string(nil), error(nil)
		switch kindOf(v.node) {
		case aList:
			for _, item := range v.items() {
				if !item.is(single) {
					return
				}
				words = append(words, item.node.Value)
			}
			if n := len(words); n == 0 || words[0] == "" || strings.Contains(strings.Join(words, ""), "\x00") {
				err = fmt.Errorf("a list of %d words is not a command; give the program's name and its arguments, without NUL bytes", n)
			}
		case single:
			line := v.node.Value
			if words, err = command.Split(line); err == nil && command.ShellSyntax(line) != "" {
				err = fmt.Errorf(`%s needs a shell; write ["sh", "-c", %q]`, kv.Quote(command.ShellSyntax(line)), line)
			}
		default:
			v.is(single)
			return
		}
		if err == nil {
			err = check(words)
		}
		if err != nil {
			v.bad("%w", err)
		}
		*to = words
	}
}
