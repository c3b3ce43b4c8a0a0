"""Reports about a run: report files, the HTML page, summary, status and verification."""
