package cli

import (
	"cmp"
	"os"

	"github.com/spf13/cobra"

	"kvexpress/internal/doctor"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hub"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/wire"
)

// defaultHubFile is where a hub's configuration is when -C does not say.
const defaultHubFile = "/etc/kvexpress/hub.yml"

const hubUnit = "kvexpress-hub.service"

// examineHub checks a hub by its hub.yml, or by flags.
func (a *App) examineHub(cmd *cobra.Command, g *globals) []doctor.Check {
	path := g.config
	if _, err := os.Stat(defaultHubFile); path == "" && err == nil {
		path = defaultHubFile
	}
	var f hubFlags
	given := *g
	given.config = path
	if err := f.complete(cmd, &given); err != nil {
		return []doctor.Check{ofConfig(path, err)}
	}
	checks := certificates(f.TLSCert, f.TLSClientCA, f.Store.CAFile, f.Store.ClientCert, f.Peers.CAFile, f.Peers.ClientCert)
	listen := cmp.Or(f.Listen, hub.DefaultListen)
	if f.DataDir != "" {
		listen = cmp.Or(f.Listen, hub.DefaultStoreListen)
		checks = append(checks, doctor.OfReady(listen, f.TLSCert != ""), doctor.OfUnit(hubUnit, []string{f.DataDir}))
		return checks
	}
	file := ""
	if path != "" {
		file = "hub.yml"
	}
	o := doctorOptions(storeOptions(f.Store, f.Store.Addrs[0], file))
	o.Token = g.token
	store, err := consul.New(o)
	if err != nil {
		return append(checks, doctor.Given(doctor.StoreCheck, o.Addr, doctor.Finding{Result: doctor.Failure, Says: err.Error()}))
	}
	s := &session{App: a, layout: f.Layout, plain: store}
	rights, _ := s.rights("hub", nil, "", false, nil) // it has no key that could be wrong
	checks = append(checks, s.storeCheck(hubGuide(g, f.Layout), rights), doctor.OfReady(listen, f.TLSCert != ""))
	clients, err := hubClients(f.Peers, o)
	if err != nil {
		return append(checks, doctor.Given("peers", "", doctor.Finding{Result: doctor.Failure, Says: err.Error()}))
	}
	for i, peer := range hub.RolloutPeers(clients) {
		checks = append(checks, doctor.OfPeer(peer.Addr, &hub.Pages{Hubs: []wire.Client{clients[i]}}),
			doctor.OfRolloutPeer(peer.Addr, len(clients), peer.Follows))
	}
	checks = append(checks, s.hubRollouts(f, store, hubGuide(g, f.Layout))...)
	reader := fleet.Reader{Store: store, Layout: f.Layout}
	return append(checks, doctor.OfUnit(hubUnit, nil), doctor.OfFleet(reader, build().version, hubGuide(g, f.Layout)))
}
