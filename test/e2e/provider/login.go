// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package provider

import (
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"slices"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	loginPath     = "/login"
	signedOutPath = "/signed-out"
	callbackPath  = "/authorize/callback" // op's, where a sign-in that is done goes on
	tokenPath     = "/oauth/token"        // op's
	sessionCookie = "provider-session"
)

//go:embed login.html
var loginPage string

var loginTemplate = template.Must(template.New("login").Parse(loginPage))

// login is the form on which people sign in.
type login struct {
	storage    *storage
	authorizer op.Authorizer
	remember   bool // who has signed in
}

// show shows the form, unless it need not or may not be shown.
func (l *login) show(w http.ResponseWriter, r *http.Request) {
	request, ok := l.request(w, r)
	if !ok {
		return
	}
	subject, known := l.session(r)
	if known && !slices.Contains(request.asked.Prompt, oidc.PromptLogin) {
		l.goOn(w, r, request, subject)
		return
	}
	if slices.Contains(request.asked.Prompt, oidc.PromptNone) {
		op.AuthRequestError(w, r, request, oidc.ErrLoginRequired(), l.authorizer)
		return
	}
	showForm(w, http.StatusOK, form{ID: request.id})
}

// submit signs in whoever knows the password.
func (l *login) submit(w http.ResponseWriter, r *http.Request) {
	request, ok := l.request(w, r)
	if !ok {
		return
	}
	username := r.PostFormValue("username")
	subject, ok := l.storage.subject(username, r.PostFormValue("password"))
	if !ok {
		showForm(w, http.StatusUnauthorized, form{request.id, username, "The username or the password is wrong."})
		return
	}
	if l.remember {
		http.SetCookie(w, &http.Cookie{
			Name: sessionCookie, Value: l.storage.addSession(subject), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		})
	}
	l.goOn(w, r, request, subject)
}

// request is the sign-in that a browser is at.
func (l *login) request(w http.ResponseWriter, r *http.Request) (*authRequest, bool) {
	request, err := l.storage.request(r.FormValue("id"))
	if err != nil {
		http.Error(w, "This sign-in is over. Go back to where you wanted to go, and start anew.", http.StatusBadRequest)
		return nil, false
	}
	return request, true
}

func (l *login) session(r *http.Request) (string, bool) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return "", false
	}
	return l.storage.subjectOfSession(cookie.Value)
}

// goOn leads back to op, which makes a code and leads on to the client.
func (l *login) goOn(w http.ResponseWriter, r *http.Request, request *authRequest, subject string) {
	l.storage.complete(request.id, subject)
	http.Redirect(w, r, callbackPath+"?id="+url.QueryEscape(request.id), http.StatusFound)
}

// form is what stands in the login form.
type form struct{ ID, Username, Message string }

func showForm(w http.ResponseWriter, status int, content form) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = loginTemplate.Execute(w, content) // an error means that the browser is gone
}

func (l *login) signedOut(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("You are signed out.\n"))
}
