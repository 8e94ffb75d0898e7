// Copyright The Jupyter Server Operator Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/jupyterserver/jupyter-server-operator/operator/api/v1alpha1"
)

// browser returns a real browser without cookies, which only reaches this machine.
func (w *world) browser() context.Context {
	w.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.Flag("no-sandbox", true), // not available to root
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("ignore-certificate-errors", true),
		chromedp.UserDataDir(w.TempDir()),
		chromedp.WindowSize(1280, 800),
	)
	allocator, endProcess := chromedp.NewExecAllocator(w.ctx, options...)
	ctx, endTab := chromedp.NewContext(allocator)
	w.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits until the browser exits
		endTab()
		endProcess()
	})
	if err := chromedp.Do(ctx); err != nil { // the browser lives as long as the context of the first call
		w.Fatalf("starting the browser: %v", err)
	}
	return ctx
}

// inBrowser runs actions in a browser with a timeout.
func (w *world) inBrowser(ctx context.Context, what string, limit time.Duration, actions ...chromedp.Action[chromedp.Void]) {
	w.Helper()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := chromedp.Do(limited, actions...); err != nil {
		w.screenshot(ctx, "failed-"+strings.ReplaceAll(what, " ", "-"))
		w.Fatalf("%s: %v", what, err)
	}
}

// screenshot stores a picture of the page as an artefact.
func (w *world) screenshot(ctx context.Context, name string) {
	w.Helper()
	folder := os.Getenv("E2E_ARTIFACTS")
	if folder == "" {
		return
	}
	limited, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	picture, err := chromedp.Run(limited, chromedp.CaptureScreenshot())
	if err != nil {
		w.Logf("no screenshot %s: %v", name, err)
		return
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644); err != nil {
		w.Fatal(err)
	}
}

// signInForm fills in the provider's form like a user.
func signInForm(user string) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(
		chromedp.WaitVisible(chromedp.CSS("#username")),
		chromedp.SendKeys(chromedp.CSS("#username"), user),
		chromedp.SendKeys(chromedp.CSS("#password"), user),
		chromedp.Click(chromedp.CSS("button[type=submit]")),
	)
}

// An allowed user in a real browser signs in, is redirected to the requested page, and works in JupyterLab.
func TestJupyterLabInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.browsable()
	_, client := w.enter(server, "alice")
	w.putFile(client, "notebook.ipynb", `{"cells": [{"cell_type": "code", "id": "a", "metadata": {}, "execution_count": null, "outputs": [], "source": "print('the answer is', 6*7)"}], "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}, "nbformat": 4, "nbformat_minor": 5}`)

	browser := w.browser()
	w.inBrowser(browser, "signing in", time.Minute,
		chromedp.Navigate(server.Status.URL+"lab/tree/notebook.ipynb"),
		signInForm("alice"),
		chromedp.WaitVisible(chromedp.CSS(".jp-Notebook .jp-CodeCell")),
	)
	location, err := chromedp.Run(browser, chromedp.Location())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(location, "/alice/lab/tree/notebook.ipynb") {
		t.Errorf("redirected to %s", location)
	}
	w.inBrowser(browser, "running a cell", time.Minute,
		// The status bar shows when the kernel is connected; before that, JupyterLab asks for one.
		chromedp.WaitVisible(`//*[@id="jp-bottom-panel" or contains(@class, "jp-StatusBar-Widget")]//*[contains(text(), "(ipykernel) | Idle")]`),
		chromedp.Click(chromedp.CSS(`.jp-NotebookPanel-toolbar [data-command="notebook:run-cell-and-select-next"]`)),
		chromedp.WaitVisible(`//*[contains(@class, "jp-OutputArea-output")]//*[contains(text(), "the answer is 42")]`),
	)
	w.screenshot(browser, "notebook")
	w.inBrowser(browser, "saving the notebook", time.Minute, // or the browser would ask before leaving the page
		chromedp.KeyEvent("s", chromedp.KeyModifiers(chromedp.ModifierCtrl)),
		chromedp.WaitNotPresent(chromedp.CSS(".lm-TabBar-tab.jp-mod-dirty")),
	)
	w.inBrowser(browser, "opening the launcher", time.Minute,
		chromedp.Navigate(server.Status.URL+"lab?reset"),
		chromedp.WaitVisible(chromedp.CSS(`.jp-LauncherCard[title*="Python 3"]`)),
	)
	w.screenshot(browser, "launcher")
	w.inBrowser(browser, "opening a terminal", time.Minute,
		chromedp.Click(`//div[contains(@class, "jp-LauncherCard")]//p[text()="Terminal"]`),
		chromedp.WaitVisible(chromedp.CSS(".jp-Terminal .xterm-screen")),
	)
	w.screenshot(browser, "terminal")
	w.inBrowser(browser, "signing out by the menu", time.Minute,
		chromedp.Click(`//div[contains(@class, "lm-MenuBar-itemLabel") and text()="File"]`),
		chromedp.WaitVisible(`//div[contains(@class, "lm-Menu-itemLabel") and text()="Log Out"]`),
		chromedp.KeyEvent(kb.ArrowUp+kb.ArrowUp+kb.Enter), // the last entry is Shut Down
		chromedp.WaitVisible(`//h1[contains(text(), "signed out")]`),
	)
	w.screenshot(browser, "signed-out")
}

// browsable returns a server with access for alice.
func (w *world) browsable() *v1alpha1.JupyterServer {
	w.Helper()
	w.apply("alice", w.oidc("{users: [alice]}")...)
	server := w.running("alice")
	w.reachable(server)
	return server
}

// The page for a denied user shows the signed-in identity and a way to sign out.
func TestDenialInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.browsable()
	browser := w.browser()
	w.inBrowser(browser, "signing in as a denied user", time.Minute,
		chromedp.EmulateViewport(390, 844), // phone
		chromedp.Navigate(server.Status.URL),
		signInForm("bob"),
		chromedp.WaitVisible(chromedp.CSS("h1")),
	)
	w.screenshot(browser, "denied")
	text, err := chromedp.Run(browser, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		t.Fatal(err)
	}
	fits, err := chromedp.Run(browser, chromedp.Evaluate[bool]("document.documentElement.scrollWidth <= window.innerWidth"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "bob") || !strings.Contains(text, "alice") {
		t.Errorf("the page lacks the signed-in user or the server:\n%s", text)
	}
	if !fits {
		t.Error("the page is wider than a phone's screen")
	}
	w.inBrowser(browser, "signing out", time.Minute,
		chromedp.Click(`//a[contains(@href, "sign_out")]`),
		chromedp.WaitVisible(`//h1[contains(text(), "signed out")]`),
		chromedp.Click(`//a[contains(@href, "/alice/")]`),
		signInForm("alice"), // allowed
		chromedp.WaitVisible(chromedp.CSS(".jp-LauncherCard")),
	)
	result, err := chromedp.Run(browser, func(ctx context.Context, target *chromedp.Target) (network.GetCookiesResult, error) {
		return cdp.Call(ctx, target, network.GetCookies, network.GetCookiesParams{URLs: []string{server.Status.URL}})
	})
	if err != nil {
		t.Fatal(err)
	}
	sessions := 0
	for _, cookie := range result.Cookies {
		if !strings.Contains(cookie.Name, "js-") {
			continue
		}
		sessions++
		if !cookie.HTTPOnly || cookie.SameSite != network.CookieSameSiteLax || !strings.HasPrefix(cookie.Path, "/alice") {
			t.Errorf("the cookie %s is accessible to scripts, other sites or other servers: %+v", cookie.Name, cookie)
		}
	}
	if sessions == 0 {
		t.Errorf("no session cookie among %s cookies", strconv.Itoa(len(result.Cookies)))
	}
}
