package config

import (
	"errors"
	"net/url"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// Gate is a command that must pass before a stage of a rollout ends.
type Gate struct {
	Run     []string
	Timeout time.Duration // 0: the default of package command
}

// Notify is a webhook that gets each change of state of a rollout. The URL "" is none.
type Notify struct {
	URL       string
	TokenFile string // "": no token
}

// maxGates limits the gates of a hub.
const maxGates = 256

func readGateCommands(v value) map[string]Gate {
	gates := map[string]Gate{}
	lines := v.each(func(e value) {
		name := e.name
		if e.name = "gates: " + kv.Quote(name); !rollout.GateName(name) {
			e.bad("it is no name of a gate; give 1 to 64 letters, digits, - and _")
			return
		}
		var g Gate
		has := e.read(map[string]func(value){
			"run":     argv(&g.Run, func([]string) error { return nil }),
			"timeout": one(&g.Timeout, parseDuration(minTimeout)),
		})
		if has != nil && has["run"] == 0 {
			e.bad("it has no command; add run, such as run: [/usr/local/bin/check-dns]")
		}
		gates[name] = g
	})
	if len(lines) > maxGates {
		v.bad("%d gates, at most %d are allowed; remove some", len(lines), maxGates)
	}
	return gates
}

func readNotify(v value) (n Notify) {
	lines := v.read(map[string]func(value){"url": one(&n.URL, parseURL), "token_file": one(&n.TokenFile, parsePath)})
	if lines != nil && lines["url"] == 0 {
		v.bad("it has no url; add one, such as url: https://chat.example/hook")
	}
	return n
}

// parseURL does not quote the value in its error: it may have a password.
func parseURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", errors.New("the value is no address; give http:// or https://, a host and a path")
	}
	if u.Scheme == "http" && !onThisMachine(u.Host) && !onThisMachine(u.Host+":80") {
		return "", errors.New("a webhook on another machine needs https")
	}
	return s, nil
}
