package project

import "github.com/gyre-events/gyre/plugins"

// example is what a new plugin of a kind does. The templates of all languages do the same.
type example struct {
	Description  string
	Capabilities []string
	Subscription string // JSON
	Config       string // JSON
}

var examples = map[plugins.Kind]example{
	plugins.KindProjection: {
		Description: "Counts events by type, and answers queries.", Capabilities: []string{"state"}, Subscription: `{"stream": "$all"}`,
	},
	plugins.KindHandler: {
		Description:  "Asks for the shipping of orders that are paid in full.",
		Capabilities: []string{"append:shipping", "state"}, Subscription: `{"filter": {"streams": ["order-*"]}}`,
	},
	plugins.KindFilter:    {Description: "Keeps large orders.", Config: `{"least": 15}`},
	plugins.KindMap:       {Description: "Makes the total of an order out of its event."},
	plugins.KindPartition: {Description: "Keeps the events of a customer in order."},
	plugins.KindValidate: {
		Description: "Refuses orders without a total above zero.", Subscription: `{"filter": {"streams": ["order-*"]}}`,
	},
}
