package gobgp

import (
	"context"
	"log/slog"

	"github.com/go-logr/logr"
)

// quiet turns GoBGP's levels into ours. What it tells of is between it and the sessions here, which speak for themselves: its
// errors alone are for an administrator.
type quiet struct{ slog.Handler }

// newLogger gives GoBGP's messages to log: errors as they are, warnings at V(1), information at V(2) and the rest at V(4).
func newLogger(log logr.Logger) *slog.Logger {
	return slog.New(quiet{logr.ToSlogHandler(log.WithName("engine"))})
}

func level(l slog.Level) slog.Level {
	switch {
	case l >= slog.LevelError:
		return l
	case l >= slog.LevelWarn:
		return -1
	case l >= slog.LevelInfo:
		return -2
	}
	return min(l, -4)
}

// Enabled is part of slog.Handler.
func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return q.Handler.Enabled(ctx, level(l))
}

// Handle is part of slog.Handler.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = level(r.Level)
	return q.Handler.Handle(ctx, r)
}

// WithAttrs is part of slog.Handler.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

// WithGroup is part of slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
