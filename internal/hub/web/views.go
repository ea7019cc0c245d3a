package web

import (
	"cmp"
	"fmt"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hold"
	"kvexpress/internal/rollout"
)

func (b fleetBody) markup() markup {
	none := either[markup](b.Q+b.State != "", "No key is like this.",
		"Nothing is published, and no node reports a key. Publish one: <code>kvexpress in -k KEY -f FILE</code>")
	return h(`<h1>Fleet</h1>
<p class="sum">%s · <a href="/nodes">%s</a>, %s connected%s · %s%s%s</p>
%s%s%s`, render.Plural(b.Table.Total, "key"), render.Plural(b.Nodes, "node"), b.Connect,
		when(b.Unread > 0, " · <b>%s unreadable</b>", render.Plural(b.Unread, "receipt")),
		either(b.NoLocks == "", render.Plural(b.Locks, "lock"), "locks unknown: "+b.NoLocks),
		with(b.NoRolls, " · rollouts unknown: %s"),
		when(b.LeftOut > 0, " · %s left out: there are too many", render.Plural(b.LeftOut, "key")),
		b.filter(), choicesMarkup(b.Choices), b.Table.markup("All keys", none, fleetRow.markup))
}

func (row fleetRow) markup() markup {
	head := h(`<tr data-id="%s">
<th scope="row">%s</th><td><span class="s s-%s">%s</span></td>`, row.Key, keyLink(row.Key), row.State, row.State)
	if row.Why != "" {
		return h(`%s<td colspan="7" class="why">%s</td></tr>`, head, row.Why)
	}
	measured := row.Delivered.Count > 0
	return h("%s%s%s%s%s%s%s%s</tr>", head,
		numCell(either(row.Nodes > 0, h("%s %s of %s", progress(row.Converged, row.Nodes), row.Converged, row.Nodes), "–")),
		numCell(either(row.Exists, render.Number(row.Version, "unmanaged"), "none")),
		numCell(either(row.Published != nil, publishedAgo(row.Report), "–")), cell(dash(row.By)),
		numCell(either(measured, took(row.Delivered.P50), "–")), numCell(either(measured, took(row.Delivered.Slowest), "–")),
		whyCell(h("%s%s%s", with(row.Stop, "<b>stopped:</b> %s "), with(row.Roll, "<b>rollout:</b> %s "), row.Rest)))
}

func publishedAgo(r fleet.Report) markup {
	return h(`<time datetime="%s">%s ago</time>`, render.Time(publishedAt(r)), span(r.Ago))
}

func (b nodesBody) markup() markup {
	none := either[markup](b.Q+b.State != "", "No node is like this.",
		"No node has reported yet. Agents report by themselves, and <code>kvexpress out</code> after a change.")
	return h(`<h1>Nodes</h1>
%s%s%s`, b.filter(), choicesMarkup(b.Choices), b.Table.markup("All nodes, by what they report themselves", none, nodesRow.markup))
}

func (r nodesRow) markup() markup {
	head := h(`<tr data-id="%s">
<th scope="row">%s%s</th>`, r.Name, nodeLink(r.Name), when(r.Host != "" && r.Host != r.Name, " <small>%s</small>", r.Host))
	if r.Why != "" {
		return h(`%s<td><span class="o o-invalid">unreadable</span></td><td colspan="5" class="why">%s</td></tr>`, head, r.Why)
	}
	return h("%s%s%s%s%s%s%s</tr>", head, cell(outcomeMark(r.Worst)), numCell(r.Files),
		numCell(either(r.Live, "connected", span(r.Seen)+" ago")), cell(cmp.Or(r.Agent, "none")), cell(dash(r.Hub)),
		cell(either(r.Clock != "", h("<b>%s</b>", r.Clock), "right")))
}

func (b keyBody) markup() markup {
	number := either(b.Version > 0, h("version <b>%s</b>", b.Version), "an unmanaged version")
	stop := when(b.Acts && b.Exists, `<p class="sum">%s</p>`, actLink(b.Key, doStop, "", "Stop the key"))
	if b.Stop != nil {
		stop = h(`<p class="bad" role="alert">The key is <b>stopped</b> in the whole fleet (set %s): %s. To undo: %s
<code>kvexpress resume -k %s</code></p>`, b.StopSince, b.Stop.Reason,
			when(b.Acts, "%s ", actLink(b.Key, doResume, "", "Resume")), b.Key)
	}
	nodes := h("%s <b>%s of %s</b> up to date (%s %%)%s", progress(b.Converged, b.Nodes), b.Converged,
		render.Plural(b.Nodes, "node"), b.Share, with(b.Rest, " · %s"))
	return h(`<h1>%s</h1>
<p class="sum">%s%s%s%s%s · <a href="/history/%s">History and events</a>%s</p>
%s
<p class="big">%s</p>
%s%s%s
<div class="beside"><div>%s%s%s</div>
<section id="pictures" data-points="%s" data-seq="%s" aria-label="Pictures of the delivery" data-keep></section></div>`,
		b.Key, either(b.Exists, number, "<b>not published</b>"),
		when(b.Published != nil, ", published %s", publishedAgo(b.Report)), with(b.By, " by %s"), with(b.Message, ": %s"),
		with(render.Short(b.SHA256), ` · <span class="mono">%s</span>`), escapePath(b.Key),
		when(b.Delivered.Count > 0, ` · <a href="#pictures">Pictures</a>`),
		stop, either(b.Nodes > 0, nodes, "No node reports this key."), b.delivered(),
		each(b.Clocks, func(c string) markup { return h(`<p class="warn">%s</p>`, c) }), b.Rollout.markup(), b.filter(),
		choicesMarkup(b.Choices), b.Table.markup("Nodes of "+b.Key, "No node is like this.", keyRow.markup), b.Points, b.Seq)
}

func (b keyBody) delivered() markup {
	d := b.Delivered
	return when(d.Count > 0, `<p class="sum">delivered: p50 %s, p90 %s, p99 %s, slowest %s on %s%s%s</p>`,
		took(d.P50), took(d.P90), took(d.P99), took(d.Slowest), nodeLink(d.SlowestNode),
		when(b.Exec.Count > 0, " · exec: p50 %s, slowest %s", took(b.Exec.P50), took(b.Exec.Slowest)),
		when(b.Unmeasured > 0, " · %s not measured", render.Plural(b.Unmeasured, "node")))
}

func (r keyRow) markup() markup {
	delivered := "–"
	if r.Took != nil {
		delivered = took(*r.Took)
	}
	return h(`<tr data-id="%s">
<th scope="row">%s</th>%s%s%s%s%s%s</tr>`, r.Node, nodeLink(r.Node), cell(outcomeMark(r.Outcome)), numCell(version(r.Version)),
		numCell(delivered), numCell(span(r.Since)), numCell(span(r.LastSeen)+" ago"), whyOutput(r.Why, r.Output))
}

func (b *rolloutBody) markup() markup {
	switch {
	case b == nil:
		return ""
	case b.Why != "":
		return h(`<section class="rollout" aria-labelledby="rollout"><h2 id="rollout">Rollout</h2>
<p class="warn">Whether there is one is unknown: %s</p></section>`, b.Why)
	}
	stages := table[rollout.StageView]{Rows: b.Stages, Columns: []column{{Label: "Stage"}, {Label: "Nodes", Num: true},
		{Label: "Admitted", Num: true}, {Label: "Healthy", Num: true}, {Label: "Failed", Num: true}, {Label: "Waits for"}}}
	return h(`<section class="rollout" aria-labelledby="rollout">
<h2 id="rollout">Rollout of version %s: <span class="r r-%s">%s</span></h2>
<p class="sum">began %s ago%s%s%s</p>
%s%s%s%s</section>`, b.Row.Version, b.Row.State, b.Row.State, b.Ago, with(b.Row.By, " by %s"), with(b.Row.Reason, " · <b>%s</b>"),
		when(b.Stopped, " · <b>held by the stop of the key</b>"), stages.markup("Stages of the rollout", "", stageMarkup),
		each(b.Failed, func(f rollout.FailedNode) markup {
			return h(`<p class="bad">%s failed: %s %s%s</p>`, nodeLink(f.Node), f.Reason, f.Detail,
				when(f.Output != "", `<span class="out">%s</span>`, block(f.Output)))
		}),
		each(b.Left, func(l rollout.LeftOut) markup {
			return h(`<p class="sum">%s is not counted: %s</p>`, nodeLink(l.Node), l.Why)
		}),
		when(len(b.Next) > 0, `<p class="sum">To act on it:%s</p>`,
			each(b.Next, func(s step) markup {
				return h(` %s<code>%s</code>`, when(b.Acts, "%s ", actLink(string(b.Row.Key), s.do, "", s.label)), s.command)
			})))
}

func stageMarkup(s rollout.StageView) markup {
	counts := numCell(s.Nodes) + numCell(s.Admitted) + numCell(s.Healthy) +
		numCell(either(s.Failed > 0, h(`<b class="o-failed">%s</b>`, s.Failed), "0"))
	if s.Nodes == 0 {
		counts = numCell("–") + numCell("–") + numCell("–") + numCell("–")
	}
	return h(`<tr data-id="%s"><th scope="row">%s</th>%s%s</tr>`, s.Name, s.Name, counts, whyCell(either(s.Done, "done", s.Waits)))
}

func (b nodeBody) markup() markup {
	if b.Why != "" {
		return h(`<h1>%s</h1>
<p class="bad" role="alert">Its receipt cannot be read: %s</p>`, b.Node, b.Why)
	}
	return h(`<h1>%s</h1>
<p class="sum">%s%s%s · %s · %s</p>
%s%s%s%s%s%s`, b.Node, with(b.Host, "host %s · "),
		either(b.Agent != "", h("agent %s", b.Agent), "no agent: <code>kvexpress out</code> reports"),
		with(b.Hub, ", reports through the hub %s"), either(b.Connected, "<b>connected</b>", h("last seen %s ago", span(b.LastSeen))),
		either(b.Clock != "", h("<b>its clock is %s</b>", b.Clock), "its clock is right"),
		with(b.Outage, `<p class="warn">%s</p>`), with(b.NoLock, `<p class="warn">Its locks are unknown: %s</p>`),
		each(b.Locks, func(l nodeLock) markup {
			return h(`<p class="warn"><b>locked:</b> %s (set %s%s): %s. To undo, on the node: <code>kvexpress unlock -f FILE</code></p>`,
				l.File, l.Since, with(l.Until, ", %s"), l.Reason)
		}),
		b.filter(), b.Table.markup("Files of "+b.Node, either[markup](b.Q != "", "No file is like this.", "It reports no file."),
			nodeRow.markup),
		when(b.Omitted > 0, "<p>And %s that did not fit into the receipt.</p>", render.Plural(b.Omitted, "file")))
}

func (r nodeRow) markup() markup {
	exec := markup("")
	if x := r.Exec; x != nil && x.Exit != 0 {
		exec = h(" <small>exit %s%s</small>", x.Exit, when(x.Failures > 1, ", %s times", x.Failures))
	}
	return h(`<tr data-id="%s %s">
<th scope="row">%s</th><td class="mono">%s%s</td>%s%s%s%s%s%s%s</tr>`, r.By, r.File, keyLink(r.Key), r.File,
		when(r.By == "out", " <small>by out</small>"), cell(outcomeMark(r.Outcome)),
		numCell(h("%s%s", version(r.Version), when(r.Live > 0 && r.Live != r.Version, " <small>of %s</small>", r.Live))),
		numCell(span(r.Since)), numCell(tookIf(r.Steps.Wait)), numCell(tookIf(r.Steps.Install)),
		numCell(h("%s%s", tookIf(r.Steps.Exec), exec)), whyOutput(r.Why, r.Output))
}

func (b historyBody) markup() markup {
	versions := table[historyRow]{Rows: b.Versions, Columns: []column{{Label: "Version", Num: true}, {Label: "Published"},
		{Label: "By"}, {Label: "Lines", Num: true}, {Label: "Bytes", Num: true}, {Label: "SHA-256"}, {Label: "Message"},
		{Label: "Diff"}, {Label: "Back"}}}
	events := table[hold.Event]{Rows: b.Events, Columns: []column{{Label: "Time"}, {Label: "Who"}, {Label: "Action"}, {Label: "On"},
		{Label: "Reason"}}}
	diff := h(`<h2 id="diff">Version %s to %s</h2>
%s%s`, b.From, b.To, when(b.Diff != nil, `<pre class="diff">%s</pre>`, each(b.Diff, func(l diffLine) markup {
		return h(`<span class="%s">%s</span>`, cmp.Or(l.Kind, "same"), block(l.Text))
	})), with(b.NoDiff, "<p>%s</p>"))
	return h(`<h1>%s: history</h1>
<p class="sum"><a href="/key/%s">Nodes of %s</a></p>
%s%s
<h2>Events</h2>
%s`, b.Key, escapePath(b.Key), b.Key, versions.markup("Versions of "+b.Key, "", historyRow.markup),
		when(b.From > 0, "%s", diff), events.markup("Events of "+b.Key,
			either(b.NoEvents != "", h(`<span class="warn">%s</span>`, b.NoEvents), "There are none."), eventMarkup))
}

func (r historyRow) markup() markup {
	return h(`<tr data-id="%s %s">
<th scope="row" class="num">%s%s</th>%s%s%s%s<td class="mono">%s</td>%s%s%s</tr>`, r.Number, r.SHA256, version(r.Number),
		when(r.Live, " live"), cell(dash(r.At)), cell(dash(r.By)), numCell(r.Lines), numCell(r.Size), render.Short(r.SHA256),
		whyCell(h("%s%s", r.Message, with(r.Why, " <b>%s</b>"))),
		cell(either(r.Compare != "", h(`<a href="%s">with the one before</a>`, r.Compare), "–")),
		cell(either(r.Back, actLink(r.Key, doRollback, fmt.Sprintf("&to=%d", r.Number), "Roll back to it"), "–")))
}

func eventMarkup(e hold.Event) markup {
	return h("<tr>%s%s%s%s%s</tr>", cell(render.Time(e.Time)), cell(e.Who), cell(e.Action),
		cell(h("%s%s %s", when(e.Version > 0, "version %s ", e.Version), e.Node, e.File)), whyCell(e.Reason))
}
