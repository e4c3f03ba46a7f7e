package sdk

import (
	"context"
	"net/http"
	"net/url"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Progress returns a client's stored place (core.Progress), whose From is where a follow goes
// on. If there is none the error is not_found, and From of what is returned is the start.
func (c *Client) Progress(ctx context.Context, name string) (core.ProgressInfo, error) {
	var info wire.ProgressInfo
	err := c.get(ctx, progressPath(name), nil, &info)
	return info.CoreInfo(), err
}

// ListProgress returns a page of the stored places.
func (c *Client) ListProgress(ctx context.Context, r core.ProgressRequest) (core.ProgressPage, error) {
	var body struct {
		Progress []wire.ProgressInfo `json:"progress"`
		End      bool                `json:"end"`
	}
	if err := c.get(ctx, "/v1/progress", listQuery(r.After, r.Limit, "prefix", r.Prefix), &body); err != nil {
		return core.ProgressPage{}, err
	}
	page := core.ProgressPage{End: body.End}
	for i := range body.Progress {
		page.Progress = append(page.Progress, body.Progress[i].CoreInfo())
	}
	return page, nil
}

// DeleteProgress removes a stored place. Its errors are those of core.DeleteProgress.
func (c *Client) DeleteProgress(ctx context.Context, name string) error {
	_, err := c.do(ctx, http.MethodDelete, progressPath(name), nil, nil, nil)
	return err
}

func progressPath(name string) string { return "/v1/progress/" + url.PathEscape(name) }
