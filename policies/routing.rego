package jupyterserver.admission

# METADATA
# title: Ingress classes are allowed ones
# description: The entry "" allows to name none, which leaves it to the operator and the cluster. An empty list allows any.
# custom:
#   id: ingress-classes
#   severity: deny
#   remediation: Set spec.routing.ingressClassName to an allowed class.
verdicts contains verdict(rego.metadata.rule(), path, message) if {
	allowed := settings["ingress-classes"].allowed
	count(allowed) > 0
	some ingress in ingresses
	some class in classes(ingress)
	not class in allowed
	path := written_route(ingress, "ingressClassName", class, server.spec.routing, "spec.ingressClassName")
	message := sprintf("the ingress class is %q, but allowed are: %s", [class, listed(allowed)])
}

# METADATA
# title: Annotations of the Ingress are allowed ones
# description: >-
#   An ingress controller does what annotations say: take over another server's paths, serve other hosts, send people elsewhere. An
#   entry is a key, or ends in /* and stands for all of a domain. An empty list allows any.
# custom:
#   id: ingress-annotations
#   severity: deny
#   remediation: Take the annotation out of spec.routing.annotations, or ask the admin to allow it.
verdicts contains verdict(rego.metadata.rule(), path, message) if {
	allowed := settings["ingress-annotations"].allowed
	count(allowed) > 0
	some ingress in ingresses
	some key, value in ingress.metadata.annotations
	not allowed_annotation(key, allowed)
	path := written_annotation(key, value)
	message := sprintf("the annotation %s of the Ingress is not among the allowed ones", [key])
}

# METADATA
# title: Paths of the Ingress are plain
# description: A path that is a pattern, or of a type that is the controller's own, can match what is another server's.
# custom:
#   id: ingress-annotations
#   severity: deny
#   remediation: Take out of spec.patches what changes the paths of the Ingress.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec.rules[%d].http.paths[%d]", [title(ingress), i, j]), message) if {
	settings["ingress-annotations"]
	some ingress in ingresses
	some i, rule in ingress.spec.rules
	some j, entry in rule.http.paths
	not is_plain_path(entry)
	message := sprintf("the path %v of the type %v is a pattern or may be one, but allowed are plain ones of the type Prefix or Exact", [
		object.get(entry, "path", "none"),
		object.get(entry, "pathType", "none"),
	])
}

allowed_annotation(key, allowed) if key in allowed

allowed_annotation(key, allowed) if {
	some entry in allowed
	endswith(entry, "/*")
	startswith(key, trim_suffix(entry, "*"))
}

written_annotation(key, value) := sprintf("spec.routing.annotations[%s]", [key]) if {
	server.spec.routing.annotations[key] == value
} else := "spec.patches"

is_plain_path(entry) if {
	entry.pathType in {"Prefix", "Exact"}
	regex.match(`^(/[A-Za-z0-9._~@:+=,-]*)*$`, entry.path)
}

# METADATA
# title: Hosts end in an allowed suffix
# description: >-
#   The placeholder {namespace} stands for the namespace of the server, which gives each namespace names of its own. An empty
#   list allows any host.
# custom:
#   id: hosts
#   severity: deny
#   remediation: Set spec.routing.host to a name that ends in an allowed suffix.
verdicts contains verdict(rego.metadata.rule(), route.path_of_host, message) if {
	count(settings.hosts.allowedSuffixes) > 0
	suffixes := [suffix |
		some entry in settings.hosts.allowedSuffixes
		suffix := trim_left(replace(entry, "{namespace}", input.namespace.name), ".*")
	]
	some route in own_hosts
	not has_suffix(route.host, suffixes)
	message := sprintf("the host is %q, but allowed are these names and what is below them: %s", [route.host, listed(suffixes)])
}

# METADATA
# title: No two servers have one route
# description: >-
#   An ingress controller gives the requests to one of the two, and which one is chance. It is the same when a server lies at
#   a path that the other one's Jupyter or sign-in uses itself (the list ownPaths, and what is below them): it would be given
#   requests that are for the other.
# custom:
#   id: route-taken
#   severity: deny
#   remediation: Choose another spec.routing.path or spec.routing.host.
verdicts contains verdict(rego.metadata.rule(), route.path_of_path, message) if {
	settings["route-taken"]
	count(other_routes) > 0
	some route in own_routes
	other := [name |
		some theirs in other_routes
		theirs.host == route.host
		same_or_inside(theirs.path, route.path)
		name := sprintf("%s/%s (%s%s)", [theirs.namespace, theirs.name, theirs.host, theirs.path])
	]
	count(other) > 0
	message := sprintf("%s%s is in the way of the server %s", [route.host, route.path, some_of(other)])
}

# METADATA
# title: No server lies below the path of another
# description: >-
#   It works, for the longer path wins, but browsers send cookies for a path also to all that is below it, and a page of
#   one server can act in the other.
# custom:
#   id: route-overlap
#   severity: warn
#   remediation: Choose a spec.routing.path that is neither above nor below that of another server, or a host of its own.
verdicts contains verdict(rego.metadata.rule(), route.path_of_path, message) if {
	settings["route-overlap"]
	count(other_routes) > 0
	some route in own_routes
	other := [name |
		some theirs in other_routes
		theirs.host == route.host
		overlap(theirs.path, route.path)
		not same_or_inside(theirs.path, route.path)
		name := sprintf("%s/%s (%s%s)", [theirs.namespace, theirs.name, theirs.host, theirs.path])
	]
	count(other) > 0
	message := sprintf("%s%s lies above or below the path of the server %s", [route.host, route.path, some_of(other)])
}

# METADATA
# title: Servers have TLS
# description: Off by default, for a cluster may have TLS in front of the ingress controller.
# custom:
#   id: tls-required
#   severity: "off"
#   remediation: Set spec.routing.tls.enabled to true.
verdicts contains verdict(rego.metadata.rule(), "spec.routing.tls.enabled", message) if {
	settings["tls-required"]
	some host in without_tls
	message := sprintf("the host %q is served without TLS, which is required", [host])
}

# METADATA
# title: People sign in over TLS
# description: Without it, whoever is on the way can read the cookie of the session. On *.localhost nobody is.
# custom:
#   id: oidc-tls
#   severity: warn
#   remediation: Set spec.routing.tls.enabled to true.
verdicts contains verdict(rego.metadata.rule(), "spec.routing.tls.enabled", message) if {
	input.object.spec.auth.mode == "oidc"
	settings["oidc-tls"]
	some host in without_tls
	not has_suffix(host, ["localhost"])
	message := sprintf("people sign in at the host %q without TLS, so that others can read their cookies on the way", [host])
}

ingresses := [object_ | some object_ in input.objects; object_.kind == "Ingress"]

# An ingress controller looks at the annotation as well, and some at it first.
classes(ingress) := {object.get(ingress.spec, "ingressClassName", "")} | {class |
	class := ingress.metadata.annotations["kubernetes.io/ingress.class"]
}

# Where the server is reached, as it is rendered.
own_routes contains route if {
	some ingress in ingresses
	some i, rule in ingress.spec.rules
	some j, entry in rule.http.paths
	host := lower(object.get(rule, "host", ""))
	path := object.get(entry, "path", "/")
	route := {
		"host": host,
		"path": without_slash(path),
		"path_of_path": written_route(ingress, "path", path, server.spec.routing, sprintf("spec.rules[%d].http.paths[%d].path", [i, j])),
	}
}

own_hosts contains route if {
	some ingress in ingresses
	some i, rule in ingress.spec.rules
	host := lower(object.get(rule, "host", ""))
	route := {
		"host": host,
		"path_of_host": written_route(ingress, "host", host, server.spec.routing, sprintf("spec.rules[%d].host", [i])),
	}
}

# A rule without paths is no route, but a backend for everything is.
own_hosts contains {"host": "", "path_of_host": sprintf("%s: spec.defaultBackend", [title(ingress)])} if {
	some ingress in ingresses
	ingress.spec.defaultBackend
}

own_hosts contains {"host": lower(host), "path_of_host": sprintf("%s: spec.tls[%d].hosts", [title(ingress), i])} if {
	some ingress in ingresses
	some i, tls in ingress.spec.tls
	some host in tls.hosts
	lower(host) != server.spec.routing.host
}

# Where a field of the ingress was written.
written_route(_, field, value, routing, _) := sprintf("spec.routing.%s", [field]) if routing[field] == value

written_route(ingress, field, value, routing, rendered) := sprintf("%s: %s", [title(ingress), rendered]) if {
	object.get(routing, field, null) != value
}

without_tls contains host if {
	some ingress in ingresses
	with_tls := {lower(entry) | some tls in ingress.spec.tls; some entry in tls.hosts}
	some rule in ingress.spec.rules
	host := lower(object.get(rule, "host", ""))
	not host in with_tls
}

has_suffix(host, suffixes) if {
	some suffix in suffixes
	trim_left(host, "*.") == suffix
}

has_suffix(host, suffixes) if {
	some suffix in suffixes
	endswith(host, concat("", [".", suffix]))
}

other_routes := [{"namespace": route.namespace, "name": route.name, "host": lower(route.host), "path": without_slash(route.path)} |
	some route in input.routes
	not is_own(route)
]

is_own(route) if {
	route.namespace == server.metadata.namespace
	route.name == server.metadata.name
}

without_slash(path) := "/" if path in {"/", ""}

without_slash(path) := trim_right(path, "/") if not path in {"/", ""}

# A path counts in whole segments: /a is above /a/b and not above /ab.
below(path, above) := substring(path, count(above) + 1, -1) if {
	above != "/"
	startswith(path, concat("", [above, "/"]))
}

below(path, above) := substring(path, 1, -1) if {
	above == "/"
	path != "/"
}

overlap(a, b) if below(a, b)

overlap(a, b) if below(b, a)

same_or_inside(a, b) if a == b

same_or_inside(a, b) if split(below(a, b), "/")[0] in settings["route-taken"].ownPaths

same_or_inside(a, b) if split(below(b, a), "/")[0] in settings["route-taken"].ownPaths

# A host may have thousands of servers.
some_of(names) := listed(names) if count(names) <= 3

some_of(names) := sprintf("%s and %d more", [listed(array.slice(sort(names), 0, 3)), count(names) - 3]) if count(names) > 3
