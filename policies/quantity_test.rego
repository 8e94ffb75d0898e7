package jupyterserver.admission_test

import data.jupyterserver.admission

test_quantity[text] if {
	some text, number in {
		"0": 0, "2": 2, "500m": 0.5, "1.5": 1.5, ".5": 0.5, "1e3": 1000, "1E3": 1000, "1E": 1000000000000000000, "4Gi": 4294967296,
		"4G": 4000000000, "1k": 1000, "100u": 0.0001, "-1": -1,
	}
	abs(admission.quantity(text) - number) < 0.0000001
}

test_quantity_of_a_number if admission.quantity(3) == 3

test_no_quantity[text] if {
	some text in [null, true, {}, "", "x", "1x", "1 Gi", "Gi", "1KI", "1e", "--1", "1.2.3"]
	admission.quantity(text) == null
}
