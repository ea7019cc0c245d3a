package config

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"kvexpress/internal/kv"
)

const (
	maxHubs = 16 // of an agent
	// A node has up to maxLabels, with names and values of up to maxLabel bytes. Hubs refuse more.
	maxLabels, maxLabel = 16, 64
)

// hubSetters are the keys that say how hubs are reached. The addresses have a key of their own name.
func hubSetters(h *Hubs, addrs string) map[string]func(value) {
	return map[string]func(value){
		addrs:             func(v value) { readHubs(v, &h.Addrs) },
		"hub_ca":          one(&h.CAFile, parsePath),
		"hub_server_name": one(&h.ServerName, parseWord),
		"hub_client_cert": one(&h.ClientCert, parsePath),
		"hub_client_key":  one(&h.ClientKey, parsePath),
	}
}

func readHubs(v value, into *[]string) {
	seen := map[string]bool{}
	v.addresses(into, maxHubs, func(s string) (string, error) {
		if seen[s] {
			return "", fmt.Errorf("%s is given twice; remove one", kv.Quote(s))
		}
		seen[s] = true
		return parseHub(s)
	})
}

// addresses reads one address, or a list of them.
func (v value) addresses(into *[]string, most int, parse func(string) (string, error)) {
	list := []value{v}
	if kindOf(v.node) == aList {
		list = v.items()
	}
	if len(list) == 0 || len(list) > most {
		v.bad("a list of %d; give 1 to %d addresses, or remove the key", len(list), most)
		return
	}
	*into = make([]string, len(list))
	for i, item := range list {
		one(&(*into)[i], parse)(item)
	}
}

func parseHub(s string) (string, error) {
	if filepath.IsAbs(s) {
		return filepath.Clean(s), nil
	}
	host, port, err := net.SplitHostPort(s)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || host == "" || n == 0 {
		return "", errors.New("the value is not the address of a hub; give host:port, such as hub.example:8610, or a socket's path")
	}
	return s, nil
}

// labels reads a map of names of labels to their values.
func (v value) labels() map[string]string {
	labels := map[string]string{}
	lines := v.each(func(e value) {
		name := e.name
		if e.name = v.name + ": " + kv.Quote(name); name == "" || len(name) > maxLabel || strings.ContainsFunc(name, unprintable) {
			e.bad("a name has 1 to %d printable bytes; give another", maxLabel)
			return
		}
		one(new(string), func(s string) (string, error) {
			if len(s) > maxLabel {
				return "", fmt.Errorf("the value has %d bytes, at most %d are allowed; shorten it", len(s), maxLabel)
			}
			labels[name] = s
			return s, nil
		})(e)
	})
	if len(lines) > maxLabels {
		v.bad("%d labels, at most %d are allowed; remove some", len(lines), maxLabels)
	}
	return labels
}

// finishHubs checks the keys about hubs against each other.
func (l *loader) finishHubs(h Hubs, addrs string, lines map[string]int) {
	if (h.ClientCert == "") != (h.ClientKey == "") {
		l.add(max(lines["hub_client_cert"], lines["hub_client_key"]),
			"hub_client_cert and hub_client_key need each other; give both or neither")
	}
	for _, addr := range h.Addrs {
		if h.CAFile == "" && addr != "" && !onThisMachine(addr) {
			l.add(lines[addrs], addrs+": %s may be another machine, and a token goes there only over TLS; set hub_ca", kv.Quote(addr))
		}
	}
}

// onThisMachine reports whether an address is certainly of this machine.
func onThisMachine(addr string) bool {
	if filepath.IsAbs(addr) {
		return true
	}
	host, _, _ := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
