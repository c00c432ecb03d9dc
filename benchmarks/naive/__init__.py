"""The same jobs as an ordinary developer would write them: what pushd is measured against."""
