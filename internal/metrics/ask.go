package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

// verdict on a token.
type verdict uint8

const (
	unknown   verdict = iota // the API server does not know whose it is
	forbidden                // its owner may not get the metrics
	allowed
)

// asker does what controller-runtime's filters.WithAuthenticationAndAuthorization does, less what that takes with it: package k8s.io/apiserver,
// with CEL, gRPC and OpenTelemetry, makes a speaker at rest half as large again.
func asker(config *rest.Config, client *http.Client) (func(context.Context, string) (verdict, error), error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // the door is the limit
	authentication, err := authenticationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("set up the authentication of the metrics: %w", err)
	}
	authorization, err := authorizationclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("set up the authorization of the metrics: %w", err)
	}
	return func(ctx context.Context, token string) (verdict, error) {
		who, err := authentication.TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			return unknown, fmt.Errorf("ask the API server whose a token is: %w", err)
		}
		if !who.Status.Authenticated {
			return unknown, nil
		}
		user := who.Status.User
		extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
		for k, v := range user.Extra {
			extra[k] = authorizationv1.ExtraValue(v)
		}
		may, err := authorization.SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
		}}, metav1.CreateOptions{})
		if err != nil {
			return unknown, fmt.Errorf("ask the API server if %s may get /metrics: %w", user.Username, err)
		}
		if !may.Status.Allowed {
			return forbidden, nil
		}
		return allowed, nil
	}, nil
}

// away reports whether an error means that the API server cannot be asked. One that answers and does not let this program ask is there: what
// it said of a token earlier is then no reason to let that through.
func away(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	code := status.Status().Code
	return code == 0 || code == http.StatusTooManyRequests || code >= http.StatusInternalServerError
}
