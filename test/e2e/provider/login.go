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
	callbackPath  = "/authorize/callback" // of package op, continues a completed sign-in
	tokenPath     = "/oauth/token"        // of package op
	sessionCookie = "provider-session"
)

//go:embed login.html
var loginPage string

var loginTemplate = template.Must(template.New("login").Parse(loginPage))

// login serves the sign-in form.
type login struct {
	storage    *storage
	authorizer op.Authorizer
	remember   bool // whether sessions are remembered
}

// show shows the form, unless a session exists or prompt=none.
func (l *login) show(w http.ResponseWriter, r *http.Request) {
	request, ok := l.request(w, r)
	if !ok {
		return
	}
	subject, known := l.session(r)
	if known && !slices.Contains(request.requested.Prompt, oidc.PromptLogin) {
		l.redirect(w, r, request, subject)
		return
	}
	if slices.Contains(request.requested.Prompt, oidc.PromptNone) {
		op.AuthRequestError(w, r, request, oidc.ErrLoginRequired(), l.authorizer)
		return
	}
	showForm(w, http.StatusOK, form{ID: request.id})
}

// submit signs in a user with the right password.
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
	l.redirect(w, r, request, subject)
}

// request returns the current sign-in of a browser.
func (l *login) request(w http.ResponseWriter, r *http.Request) (*authRequest, bool) {
	request, err := l.storage.request(r.FormValue("id"))
	if err != nil {
		http.Error(w, "This sign-in has expired. Go back to the page that you wanted to open and try again.", http.StatusBadRequest)
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

// redirect redirects to package op, which creates a code and redirects to the client.
func (l *login) redirect(w http.ResponseWriter, r *http.Request, request *authRequest, subject string) {
	l.storage.complete(request.id, subject)
	http.Redirect(w, r, callbackPath+"?id="+url.QueryEscape(request.id), http.StatusFound)
}

// form is the content of the login form.
type form struct{ ID, Username, Message string }

func showForm(w http.ResponseWriter, status int, content form) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = loginTemplate.Execute(w, content) // fails if the browser is gone
}

func (l *login) signedOut(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("You are signed out.\n"))
}
