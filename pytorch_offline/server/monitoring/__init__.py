"""What whoever runs a server reads: the access log, sums of answers, ``/health``, ``/metrics``, complaints."""
