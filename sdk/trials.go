package sdk

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// dryRunGrace is what a dry run has beyond plugins.MaxDryRunTime to be answered.
const dryRunGrace = time.Minute

// DryRun has a version handle stored events as a binding would, or two versions, and writes
// nothing. It calls progress as it is shown, which may be nil, and ends when ctx does. The errors
// are those of Version and Deploy, invalid_dry_run_range, too_many_dry_runs, dry_run_too_large,
// state_busy and plugin_failed.
func (p Plugins) DryRun(ctx context.Context, binding string, d plugins.DryRun, progress func(plugins.DryRunProgress)) (result plugins.DryRunResult, err error) {
	body, err := wire.Marshal(d)
	if err != nil {
		return result, core.Errorf(core.CodeInvalidRequest, "not a request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, plugins.MaxDryRunTime+dryRunGrace)
	defer cancel()
	var failed error
	take := func(from io.Reader) error {
		failed = takeDryRun(ctx, from, progress, &result)
		return nil
	}
	r := httpRequest{method: http.MethodPost, path: pluginPath(binding, "/dry-run"), kind: "application/json", body: body, changesNothing: true, take: take}
	_, err = p.client.try(ctx, p.client.nodesNow(), &r)
	if err == nil {
		err = failed
	}
	return result, err
}

// takeDryRun reads the messages of a dry run, up to its result.
func takeDryRun(ctx context.Context, from io.Reader, progress func(plugins.DryRunProgress), result *plugins.DryRunResult) error {
	messages := json.NewDecoder(from)
	for {
		var m struct {
			Progress *plugins.DryRunProgress `json:"progress"`
			Result   *plugins.DryRunResult   `json:"result"`
			Error    *wire.Error             `json:"error"`
		}
		err := messages.Decode(&m)
		switch {
		case err != nil && ctx.Err() != nil:
			return core.AsError(ctx.Err())
		case err != nil:
			return core.Errorf(core.CodeUnavailable, "the answer broke off: %w", err)
		case m.Error != nil:
			return m.Error.Err()
		case m.Result != nil:
			*result = *m.Result
			return nil
		case m.Progress != nil && progress != nil:
			progress(*m.Progress)
		}
	}
}

// Shadow has a version run in the shadow of the binding's: it handles the same batches on the same
// state, and nothing of what it does is written. The errors are those of Deploy, and shadow_differs.
func (p Plugins) Shadow(ctx context.Context, binding, version string) (plugins.Status, error) {
	return p.order(ctx, binding, "/shadow", plugins.Shadow{Version: version})
}

// EndShadow ends what Shadow began. The error is shadow_not_found if there is none.
func (p Plugins) EndShadow(ctx context.Context, binding string) (s plugins.Status, err error) {
	_, err = p.client.do(ctx, http.MethodDelete, pluginPath(binding, "/shadow"), nil, nil, &s)
	return s, err
}

// Differences returns how the shadow of a binding is doing, and the last of what it did otherwise.
// The error is shadow_not_found if there is none.
func (p Plugins) Differences(ctx context.Context, binding string, r plugins.ShadowRequest) (report plugins.ShadowReport, err error) {
	query := url.Values{}
	if r.Before > 0 {
		query.Set("before", strconv.FormatUint(r.Before, 10))
	}
	setLimit(query, r.Limit)
	err = p.client.get(ctx, pluginPath(binding, "/shadow"), query, &report)
	return report, err
}
