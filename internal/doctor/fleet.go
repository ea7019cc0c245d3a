package doctor

import (
	"context"
	"errors"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

// OfFleet compares the version of this program with those of the fleet's agents.
func OfFleet(reader fleet.Reader, version string, g kv.Guide) Check {
	return Check{Name: "version", About: "of the fleet", Run: func(ctx context.Context) []Finding {
		roster, err := reader.Roster(ctx, 0, 0)
		switch {
		case errors.Is(err, kv.ErrDenied):
			return []Finding{found(NotChecked, "the token may not read the receipts of the fleet, which a node need not; "+
				"`kvexpress status --node NODE` shows it, with the token of an operator")}
		case err != nil:
			return []Finding{unasked(err, g)}
		}
		count, all, most := map[string]int{}, 0, ""
		for _, n := range roster.Nodes {
			if a := n.Receipt.Agent; a != nil && n.Err == nil {
				all++
				if count[a.Version]++; count[a.Version] > count[most] || most == "" {
					most = a.Version
				}
			}
		}
		if all == 0 {
			return []Finding{found(OK, "no agent has reported yet")}
		} else if most == version {
			return []Finding{found(OK, "%d of %d agents run this version, %s", count[version], all, version)}
		}
		return []Finding{found(Warning, "%d of %d agents run kvexpress %s, and this is %s; upgrade the older ones", count[most], all,
			most, version)}
	}}
}

// OfKey checks what the store has of a key.
func OfKey(reader fleet.Reader, k kv.Key, g kv.Guide) Check {
	return Check{Name: "key", About: string(k), Run: func(ctx context.Context) []Finding {
		all, err := reader.Live(ctx, fleet.Roster{}, k)
		if err == nil {
			err = all[0].Err
		}
		switch {
		case errors.Is(err, kv.ErrDenied):
			return []Finding{found(Failure, "%s", g.Explain(err))}
		case err != nil:
			return []Finding{unasked(err, g)}
		case !all[0].Exists:
			return []Finding{found(OK, "the store does not have it yet")}
		case all[0].Stopped():
			return []Finding{found(Warning, "it is stopped: %s; %s", all[0].Stop.Reason(),
				g.Typed("to undo: `kvexpress resume -k "+string(k)+"`"))}
		case all[0].Manifest == nil:
			return []Finding{found(OK, "an unmanaged version is live")}
		}
		return []Finding{found(OK, "version %d is live", all[0].Manifest.Version)}
	}}
}
