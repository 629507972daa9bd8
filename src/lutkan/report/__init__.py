"""Reports: result files in; Markdown, CSV and one self-contained HTML page out."""
