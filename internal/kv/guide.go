package kv

import (
	"errors"
	"regexp"
	"strings"

	"kvexpress/internal/safetext"
)

// Guide completes the remedies of one command, or of one target of an agent.
type Guide struct {
	Role  string // of `kvexpress acl`, with its flags but -k
	Key   string // "" if there is no single key
	Flags []Flag // select the same store and keys
	Token bool   // -t was given, and must not be shown
}

// Flag is a flag of a command.
type Flag struct{ Name, Value string }

// Explain returns an error on one line, with a remedy.
func (g Guide) Explain(err error) string {
	text, remedy := safetext.Joined(err.Error(), 0), Remedy(err)
	if remedy == "" && errors.Is(err, ErrDenied) && !strings.Contains(text, "`kvexpress acl ") {
		remedy = "`kvexpress acl " + g.Role + "` prints the policy that the token needs"
		if g.Key != "" {
			remedy = "`kvexpress acl " + g.Role + " -k " + g.Key + "` prints the policy that the token needs"
		}
	}
	if remedy != "" {
		text += "; " + remedy
	}
	return g.Typed(text)
}

// Typed adds the flags to each `kvexpress …` in a text, so that it works when typed.
func (g Guide) Typed(text string) string {
	if !strings.Contains(text, "`kvexpress ") {
		return text
	}
	asks := false // one of the commands uses a token
	command := regexp.MustCompile("`kvexpress ([a-z]+)[^`]*`")
	text = command.ReplaceAllStringFunc(text, func(all string) string {
		name := command.FindStringSubmatch(all)[1]
		if name == "agent" || name == "demo" || strings.Contains(all, "--help") {
			return all
		}
		asks = asks || name != "acl"
		for _, f := range g.Flags {
			prefix := f.Name == "-p"
			if name == "acl" && !prefix || name == "kv" && prefix || strings.Contains(all, " "+f.Name+" ") {
				continue
			}
			all = strings.TrimSuffix(all, "`") + " " + f.Name + " " + quote(f.Value) + "`"
		}
		return all
	})
	if asks && g.Token {
		text += " (with the same -t)"
	}
	return text
}

// quote quotes a value for a shell.
func quote(s string) string {
	if regexp.MustCompile(`^[-a-zA-Z0-9_./:@=+,]+$`).MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
