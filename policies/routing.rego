package jupyterserver.admission

# METADATA
# title: Ingress classes are allowed
# description: The entry "" allows Ingresses without a class, which the operator or the cluster sets. An empty list allows any class.
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
	path := route_field_path(ingress, "ingressClassName", class, server.spec.routing, "spec.ingressClassName")
	message := sprintf("ingress class is %q; allowed: %s", [class, listed(allowed)])
}

# METADATA
# title: Annotations of the Ingress are allowed
# description: >-
#   Annotations can make an ingress controller take over the paths of another server, serve other hosts or redirect users. An entry
#   is a key, or ends in /* and matches all keys of a domain. An empty list allows any annotation.
# custom:
#   id: ingress-annotations
#   severity: deny
#   remediation: Remove the annotation from spec.routing.annotations, or ask your administrator to allow it.
verdicts contains verdict(rego.metadata.rule(), path, message) if {
	allowed := settings["ingress-annotations"].allowed
	count(allowed) > 0
	some ingress in ingresses
	some key, value in ingress.metadata.annotations
	not allowed_annotation(key, allowed)
	path := annotation_path(key, value)
	message := sprintf("annotation %s of the Ingress is not allowed", [key])
}

# METADATA
# title: Paths of the Ingress are literal
# description: A pattern, or a path of an implementation-specific type, can match the paths of another server.
# custom:
#   id: ingress-annotations
#   severity: deny
#   remediation: Remove changes of the paths of the Ingress from spec.patches.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s: spec.rules[%d].http.paths[%d]", [title(ingress), i, j]), message) if {
	settings["ingress-annotations"]
	some ingress in ingresses
	some i, rule in ingress.spec.rules
	some j, entry in rule.http.paths
	not is_plain_path(entry)
	message := sprintf("path %v of type %v may be a pattern; allowed are literal paths of type Prefix or Exact", [
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

annotation_path(key, value) := sprintf("spec.routing.annotations[%s]", [key]) if {
	server.spec.routing.annotations[key] == value
} else := "spec.patches"

is_plain_path(entry) if {
	entry.pathType in {"Prefix", "Exact"}
	regex.match(`^(/[A-Za-z0-9._~@:+=,-]*)*$`, entry.path)
}

# METADATA
# title: Hosts have an allowed suffix
# description: >-
#   The placeholder {namespace} stands for the namespace of the server, so that each namespace can have its own names. An empty list
#   allows any host.
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
	message := sprintf("host %q is not allowed; allowed are these names and their subdomains: %s", [route.host, listed(suffixes)])
}

# METADATA
# title: Routes are unique
# description: >-
#   With equal routes the ingress controller sends requests to an arbitrary one of the servers. The same happens if a server is
#   at a path that another server's Jupyter or sign-in uses (the list ownPaths, and the paths below them): it would receive
#   requests for the other.
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
		conflicts(theirs.path, route.path)
		name := sprintf("%s/%s (%s%s)", [theirs.namespace, theirs.name, theirs.host, theirs.path])
	]
	count(other) > 0
	message := sprintf("%s%s conflicts with the server %s", [route.host, route.path, abbreviated(other)])
}

# METADATA
# title: No path is below that of another server
# description: >-
#   It works because the longer path wins, but browsers also send the cookies of a path to all paths below it, and a page of one
#   server can act in the other.
# custom:
#   id: route-overlap
#   severity: warn
#   remediation: Choose a spec.routing.path that is neither above nor below that of another server, or another host.
verdicts contains verdict(rego.metadata.rule(), route.path_of_path, message) if {
	settings["route-overlap"]
	count(other_routes) > 0
	some route in own_routes
	other := [name |
		some theirs in other_routes
		theirs.host == route.host
		overlap(theirs.path, route.path)
		not conflicts(theirs.path, route.path)
		name := sprintf("%s/%s (%s%s)", [theirs.namespace, theirs.name, theirs.host, theirs.path])
	]
	count(other) > 0
	message := sprintf("%s%s is above or below the path of the server %s", [route.host, route.path, abbreviated(other)])
}

# METADATA
# title: Servers use TLS
# description: Off by default, because TLS may be terminated in front of the ingress controller.
# custom:
#   id: tls-required
#   severity: "off"
#   remediation: Set spec.routing.tls.enabled to true.
verdicts contains verdict(rego.metadata.rule(), "spec.routing.tls.enabled", message) if {
	settings["tls-required"]
	some host in without_tls
	message := sprintf("host %q does not use TLS", [host])
}

# METADATA
# title: Users sign in over TLS
# description: Without TLS, anyone on the network path can read the session cookie. Hosts below localhost are exempt.
# custom:
#   id: oidc-tls
#   severity: warn
#   remediation: Set spec.routing.tls.enabled to true.
verdicts contains verdict(rego.metadata.rule(), "spec.routing.tls.enabled", message) if {
	input.object.spec.auth.mode == "oidc"
	settings["oidc-tls"]
	some host in without_tls
	not has_suffix(host, ["localhost"])
	message := sprintf("users sign in at host %q without TLS, so that session cookies can be intercepted", [host])
}

ingresses := [obj | some obj in input.objects; obj.kind == "Ingress"]

# Ingress controllers also read the annotation, some before the field.
classes(ingress) := {object.get(ingress.spec, "ingressClassName", "")} | {class |
	class := ingress.metadata.annotations["kubernetes.io/ingress.class"]
}

# The rendered routes of the server.
own_routes contains route if {
	some ingress in ingresses
	some i, rule in ingress.spec.rules
	some j, entry in rule.http.paths
	host := lower(object.get(rule, "host", ""))
	path := object.get(entry, "path", "/")
	route := {
		"host": host,
		"path": without_slash(path),
		"path_of_path": route_field_path(ingress, "path", path, server.spec.routing, sprintf("spec.rules[%d].http.paths[%d].path", [i, j])),
	}
}

own_hosts contains route if {
	some ingress in ingresses
	some i, rule in ingress.spec.rules
	host := lower(object.get(rule, "host", ""))
	route := {
		"host": host,
		"path_of_host": route_field_path(ingress, "host", host, server.spec.routing, sprintf("spec.rules[%d].host", [i])),
	}
}

# A rule without paths is not a route, but a default backend is one.
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

# The path of a field of the Ingress: in the spec if that set it, otherwise in the rendered object.
route_field_path(_, field, value, routing, _) := sprintf("spec.routing.%s", [field]) if routing[field] == value

route_field_path(ingress, field, value, routing, rendered) := sprintf("%s: %s", [title(ingress), rendered]) if {
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

# Paths are compared by segment: /a is above /a/b but not above /ab.
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

conflicts(a, b) if a == b

conflicts(a, b) if split(below(a, b), "/")[0] in settings["route-taken"].ownPaths

conflicts(a, b) if split(below(b, a), "/")[0] in settings["route-taken"].ownPaths

# A host can have thousands of servers.
abbreviated(names) := listed(names) if count(names) <= 3

abbreviated(names) := sprintf("%s and %d more", [listed(array.slice(sort(names), 0, 3)), count(names) - 3]) if count(names) > 3
