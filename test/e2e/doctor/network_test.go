//go:build linux

package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"testing"
	"time"

	"kvexpress/internal/doctor"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// Each thing that can be wrong with TLS has its own words.
func TestStoreWithTLS(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t)
	ca, foreign := e2e.NewAuthority(t, m.Dir, "ca"), e2e.NewAuthority(t, m.Dir, "foreign")
	local := []net.IP{net.IPv4(127, 0, 0, 1)}
	_, _, good := ca.Sign("good", local, nil, time.Hour)
	_, _, elsewhere := ca.Sign("elsewhere", nil, []string{"consul.example"}, time.Hour)
	_, _, old := ca.Sign("old", local, nil, -time.Hour)
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	for name, tt := range map[string]struct {
		certificate string
		clients     tls.ClientAuthType
		fields      e2e.Fields
		words       []string
	}{
		"authority": {good, tls.NoClientCert, e2e.Fields{"ca_file": foreign.File}, []string{"unknown CA", foreign.File}},
		"name":      {elsewhere, tls.NoClientCert, nil, []string{"not valid for 127.0.0.1", "tls_server_name: consul.example in agent.yml"}},
		"old":       {old, tls.NoClientCert, nil, []string{"expired", "renew"}},
		"client":    {good, tls.RequireAndVerifyClientCert, nil, []string{"requires a client certificate", "client_cert and client_key in agent.yml"}},
		"":          {good, tls.NoClientCert, nil, nil},
	} {
		addr := front(t, s.Server.Addr, tt.certificate, &tls.Config{ClientAuth: tt.clients, ClientCAs: roots}, "")
		fields := e2e.Fields{"stores": "https://" + addr, "ca_file": ca.File}
		for k, v := range tt.fields {
			fields[k] = v
		}
		d := examine(t, m, nil, "-C", configure(m, "tls"+name, fields))
		if name == "" {
			d.says("store", doctor.OK, addr, "Consul 1.")
			d.says("certificate", doctor.Warning, ca.File, "renew")
			continue
		}
		d.says("store", doctor.Failure, append(tt.words, addr)...)
	}
	d := examine(t, m, nil, "-C", configure(m, "expired", e2e.Fields{"ca_file": good, "client_cert": old, "client_key": old + ".key"}))
	d.says("certificate", doctor.Failure, old, "renew it")
}

// A clock that is wrong by more than two seconds is named, of a store and of a hub.
func TestClock(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t)
	h := m.Hub("hub", "-s", s.Server.Addr)
	for way, ahead := range map[string]time.Duration{"behind": time.Hour, "ahead of": -time.Hour} {
		date := time.Now().Add(ahead).UTC().Format(http.TimeFormat)
		store := front(t, s.Server.Addr, "", nil, date)
		d := examine(t, m, nil, "-C", configure(m, "clock", e2e.Fields{"stores": store, "hubs": front(t, h.Addr, "", nil, date)}))
		d.says("clock", doctor.Warning, store, way+" the store's", "timedatectl")
		d.says("clock", doctor.Warning, way+" the hub's", "timedatectl")
	}
	d := examine(t, m, nil, "-C", configure(m, "clock", e2e.Fields{"stores": s.Server.Addr, "hubs": h.Addr}))
	d.says("clock", doctor.NotChecked, s.Server.Addr, "same clock")
	d.says("clock", doctor.NotChecked, h.Addr, "same clock")
}

// A hub that is not there, that is another server, or that refuses this node.
func TestHubs(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t, consultest.WithACL())
	rules := `key_prefix "kvexpress" { policy = "write" }`
	m = m.With("CONSUL_HTTP_TOKEN=" + s.Server.NewToken(t, rules))
	h := m.Hub("hub", "-s", s.Server.Addr)
	node := s.Server.NewToken(t, `key_prefix "kvexpress/" { policy = "read" } key "kvexpress-nodes/web-17" { policy = "write" }`)
	reader := s.Server.NewToken(t, `key_prefix "kvexpress/" { policy = "read" }`)
	ca := e2e.NewAuthority(t, m.Dir, "ca")
	_, _, elsewhere := ca.Sign("elsewhere", nil, []string{"hub.example"}, time.Hour)
	secure := m.Hub("secure", "-s", s.Server.Addr, "--tls-cert", elsewhere, "--tls-key", elsewhere+".key")
	at := func(token string, fields e2e.Fields) diagnosis {
		t.Helper()
		all := e2e.Fields{"node": "web-17", "direct": false, "hubs": h.Addr, "token_file": m.File("token", token)}
		for k, v := range fields {
			all[k] = v
		}
		return examine(t, m, nil, "-C", configure(m, "hubs", all))
	}
	at(node, nil).says("hub", doctor.OK, h.Addr, "accepts this node")
	at(reader, nil).says("rights", doctor.Failure, "takes no receipts", "kvexpress acl node --node web-17")
	at("11111111-2222-3333-4444-555555555555", nil).says("hub", doctor.Failure, "refuses this node (token)", "token_file")
	at(node, e2e.Fields{"prefix": "other"}).says("hub", doctor.Failure, "refuses this node (invalid)", "set prefix")
	at(node, e2e.Fields{"hubs": "127.0.0.1:1"}).says("hub", doctor.Failure, "connection refused", "start the hub there")
	at(node, e2e.Fields{"hubs": s.Server.Addr}).says("hub", doctor.Failure, "not a hub", "check its address")
	at(node, e2e.Fields{"hubs": secure.Addr}).says("hub", doctor.Failure, "speaks TLS", "hub_ca")
	at(node, e2e.Fields{"hubs": secure.Addr, "hub_ca": ca.File}).says("hub", doctor.Failure, "hub_server_name")
	at(node, e2e.Fields{"hubs": h.Addr, "hub_ca": ca.File}).says("hub", doctor.Failure, "does not speak TLS")
	spare := at(node, e2e.Fields{"hubs": []string{"127.0.0.1:1", h.Addr}})
	spare.says("hub", doctor.Warning, "127.0.0.1:1")
	spare.says("hub", doctor.OK, h.Addr)

	// To ask is no contact: the node of an agent that was killed does not come back.
	configure(m, "agent", e2e.Fields{"node": "web-17", "direct": false, "hubs": h.Addr, "token_file": m.File("token", node)},
		e2e.Fields{"key": "hosts", "file": m.Path("hosts")})
	lastSeen := func() (ms float64, connected bool) {
		var r struct {
			Connected bool
			LastSeen  float64 `json:"last_seen_ms"`
		}
		if said := m.Run("status", "--node", "web-17", "--hub", h.Addr, "--json"); json.Unmarshal([]byte(said.Stdout), &r) != nil {
			t.Fatal(said)
		}
		return r.LastSeen, r.Connected
	}
	agent := m.Agent("agent")
	e2e.Eventually(t, "the node is there", func() bool { _, connected := lastSeen(); return connected })
	agent.Kill()
	var before float64
	e2e.Eventually(t, "the node has been away for a while", func() (connected bool) {
		before, connected = lastSeen()
		return !connected && before > 1500
	})
	at(node, nil).says("hub", doctor.OK, h.Addr)
	if after, _ := lastSeen(); after < before {
		t.Errorf("the node was last there %v ms ago, and, after its doctor asked, %v ms ago", before, after)
	}

	// The hub's own doctor.
	config := m.File("hub.yml", "store: "+s.Server.Addr+"\nlisten: "+h.Addr+"\npeers: ["+h.Addr+"]\n")
	own := examine(t, m, nil, "hub", "-C", config)
	own.says("store", doctor.OK)
	own.says("rights", doctor.OK)
	own.says("ready", doctor.OK, h.Addr)
	own.says("hub", doctor.OK, h.Addr, "receipts")
	weak := m.With("CONSUL_HTTP_TOKEN=" + reader)
	examine(t, weak, nil, "hub", "-C", config).says("rights", doctor.Failure, "write kvexpress-nodes/.probe", "kvexpress acl hub")
	examine(t, weak, nil, "hub", "-C", config).says("hub", doctor.Failure, h.Addr, "may not read the receipts", "kvexpress acl")
	h.Kill()
	gone := examine(t, m, nil, "hub", "-C", config)
	gone.says("ready", doctor.Failure, "no hub listens there", "systemctl start kvexpress-hub")
	gone.says("hub", doctor.Failure, h.Addr, "connection refused", "start the hub there")
	examine(t, m, nil, "hub", "-C", m.File("ca.yml", "store: "+s.Server.Addr+"\npeers: ["+h.Addr+"]\nhub_ca: "+m.Path("nosuch")+"\n")).
		says("peers", doctor.Failure, "nosuch")
	examine(t, m, nil, "hub", "-C", m.File("bad.yml", "stores: x\n")).says("configuration", doctor.Failure, "bad.yml:1", "give store")
	examine(t, m, nil, "hub", "-C", m.File("tls.yml", "store: "+s.Server.Addr+"\nlisten: "+secure.Addr+"\ntls_cert: "+elsewhere+
		"\ntls_key: "+elsewhere+".key\n")).says("ready", doctor.OK, secure.Addr)
}
