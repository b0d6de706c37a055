"""Treatment response by RECIST and PERCIST."""
