package access

import "context"

type contextKey struct{}

// With returns a context whose calls are those of p.
func With(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// Of returns the principal of a context: Nobody, if it has none.
func Of(ctx context.Context) *Principal {
	if p, ok := ctx.Value(contextKey{}).(*Principal); ok {
		return p
	}
	return Nobody()
}

type addressKey struct{}

// Address is where calls come from, host:port; "" is not known.
type Address string

// WithAddress returns a context whose calls come from an address.
func WithAddress(ctx context.Context, from Address) context.Context {
	return context.WithValue(ctx, addressKey{}, from)
}

// AddressOf returns where the calls of a context come from.
func AddressOf(ctx context.Context) Address {
	from, _ := ctx.Value(addressKey{}).(Address)
	return from
}

// Value is WithAddress for contexts that are types of their own.
func (a Address) Value(key any) any {
	if _, ok := key.(addressKey); ok {
		return a
	}
	return nil
}

// Value is With for contexts that are types of their own: it returns p for the key of Of,
// and nil for any other.
func (p *Principal) Value(key any) any {
	if _, ok := key.(contextKey); ok {
		return p
	}
	return nil
}

// Check is Check of the principal of a context.
func Check(ctx context.Context, a Action, target string) error { return Of(ctx).Check(a, target) }

// Authenticator knows the principals of tokens. It is safe for concurrent use. It does not wait
// for a token that it knows, and at most a second for another.
type Authenticator interface {
	// Authenticate returns whose token it is; "" is none. The error is unauthenticated.
	Authenticate(token string) (*Principal, error)
}

// Everybody takes everybody for Anyone.
type Everybody struct{}

// Authenticate is Authenticator.Authenticate.
func (Everybody) Authenticate(string) (*Principal, error) { return anyone, nil }
