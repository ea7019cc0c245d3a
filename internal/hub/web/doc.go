// Package web owns the web page of a hub: views of the fleet, of a key and of a node, as tables that read without JavaScript.
//
//	web      routes and headers
//	caller   who asks, and what their token may read
//	model    the fleet, read again while people look at it
//	table    search, sort, filter and pages of tables, which are in the URL
//	fleet, key, rollout, node, history  the views: what they show
//	views    their HTML, from the parts of html
//	live     pushes views to browsers that are open
//	act      actions: they run with the caller's token, and with the code of the commands
//	touch    what an action will touch, for its form
//
// Package fleet judges: the page shows what `kvexpress status` prints. All texts from the store and from receipts are hostile:
// html.go escapes them.
//
// It may import kv, fleet, gate, hold, outcome, record, rollout, publish, httpd, wait and cli/render, which has the words of the
// commands.
package web
