"""What people look at: verdict, tables, curves, figures, the report."""
