"""The page's sections: in each, ``numbers(report_input)`` computes what the template draws."""
