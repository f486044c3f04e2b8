"""The page's sections: in each, ``numbers(report_input)`` computes and ``html(numbers)`` draws."""
