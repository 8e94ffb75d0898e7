package jupyterserver.admission

# METADATA
# title: The number of a Kubernetes quantity
# description: >-
#   Null if the value is not a quantity: every rule has to handle that. OPA's units.parse does not support n and u, and reads m in
#   bytes as mega.
default quantity(_) := null

quantity(value) := value if is_number(value)

quantity(value) := to_number(value) if {
	is_string(value)
	regex.match(`^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$`, value)
}

quantity(value) := to_number(number) * factors[suffix] if {
	is_string(value)
	regex.match(`^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([numkMGTPE]|[KMGTPE]i)$`, value)
	number := trim_right(value, "numkKMGTPEi")
	suffix := trim_prefix(value, number)
}

factors := {
	"n": 0.000000001, "u": 0.000001, "m": 0.001,
	"k": 1000, "M": 1000000, "G": 1000000000, "T": 1000000000000, "P": 1000000000000000, "E": 1000000000000000000,
	"Ki": 1024, "Mi": 1048576, "Gi": 1073741824, "Ti": 1099511627776, "Pi": 1125899906842624, "Ei": 1152921504606846976,
}
