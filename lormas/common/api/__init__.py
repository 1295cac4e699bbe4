"""The API's manners (SURFACE section 1). One module a DRF setting: they are imported while DRF itself is half loaded."""
